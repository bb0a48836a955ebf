"""Data by the names of their parts, laid end to end as a joint model's rows."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from tfp_aevb.data.host_arrays import host_array, is_no_array
from tfp_aevb.models.joint.flat import Places
from tfp_aevb.models.joint.leaves import Parts


def arranged(data: Parts, x: Any) -> Any:
    """Returns data of any form with their parts laid end to end: rows [N, D], or batches of rows.

    Data of one part are left in their own shape [N, *event].

    Args:
        data: the parts, in the order in which they lie in a row.
        x: rows already, which are returned as they are; a dict of arrays by the parts' names,
            nested as these are; a tuple of arrays, or a list of them, in the order of the parts; a
            DataFrame whose columns are the parts; a `tf.data.Dataset`, Keras sequence or iterator
            of batches of such, or of tuples (x, x, weights) that begin with one.

    Raises:
        ValueError: if a name is unknown or missing, or an array has another shape than its part.
    """
    if isinstance(x, tf.data.Dataset):
        return _mapped(data, x)
    if isinstance(x, tf_keras.utils.Sequence):
        return x if isinstance(x, _ArrangedSequence) else _ArrangedSequence(data, x)
    if hasattr(x, "__next__"):
        return map(functools.partial(_element, data), x)
    return _rows(data, x) if _is_in_parts(data, x) else x


class _ArrangedSequence(tf_keras.utils.Sequence):
    """A Keras sequence, its batches as rows."""

    def __init__(self, data: Parts, sequence: tf_keras.utils.Sequence) -> None:
        self._data, self._sequence = data, sequence

    def __len__(self) -> int:
        return len(self._sequence)

    def __getitem__(self, index: int) -> Any:
        return _element(self._data, self._sequence[index])

    def on_epoch_end(self) -> None:
        self._sequence.on_epoch_end()


def _mapped(data: Parts, x: tf.data.Dataset) -> tf.data.Dataset:
    spec = x.element_spec
    first = spec if isinstance(spec, tuple) else (spec,)
    if not (_are_the_parts(data, first) or any(_is_in_parts(data, part) for part in first[:2])):
        return x

    @tf.autograph.experimental.do_not_convert
    def rows(*element: Any) -> Any:
        return _element(data, element if isinstance(spec, tuple) else element[0])

    return x.map(rows)


def _element(data: Parts, element: Any) -> Any:
    """Returns a batch `x`, or (x, x) or (x, x, weights), each x as rows."""
    if not isinstance(element, tuple) or _are_the_parts(data, element):
        return _rows(data, element) if _is_in_parts(data, element) else element
    first, *others = (_rows(data, x) if _is_in_parts(data, x) else x for x in element[:2])
    return first, *others, *element[2:]


def _is_in_parts(data: Parts, x: Any) -> bool:
    """Whether `x` is made of the parts, and not of rows."""
    if isinstance(x, Mapping):
        return True
    if len(data.places) == 1:
        return False
    if isinstance(x, list) and _are_the_parts(data, x) and tuple(x[0].shape) == (data.size,):
        raise ValueError(
            f"a list of {len(x)} arrays of {data.size} numbers may be rows or the parts; give an "
            f"array of rows, or a dict of the parts {data.names}"
        )
    if isinstance(x, list):
        return _are_the_parts(data, x)
    # Of a DataFrame one name is enough: others are missing or misspelt.
    named = any(isinstance(name, str) and name in data.places for name in _columns(x))
    return isinstance(x, tuple) or named


def _are_the_parts(data: Parts, x: Sequence) -> bool:
    """Whether arrays have the shapes of the parts, of which there are several."""
    return len(x) == len(data.places) > 1 and all(
        not isinstance(place, dict)
        and hasattr(part, "shape")
        and tf.TensorShape(part.shape).rank is not None
        and data.fits(place, part.shape)
        for place, part in zip(data.places.values(), x, strict=True)
    )


def _columns(x: Any) -> list:
    """Returns the names of a DataFrame's columns, of the outermost level; or nothing."""
    columns = getattr(x, "columns", ())
    if hasattr(columns, "get_level_values"):
        columns = columns.get_level_values(0)
    return list(dict.fromkeys(columns)) if isinstance(columns, Iterable) else []


def _rows(data: Parts, x: Any) -> Any:
    """Returns the parts end to end: [N, D]; or the only one as it is."""
    named = list(_by_leaf(data.places, _named(data, x), ""))
    are_tensors = any(tf.is_tensor(array) for _, _, array in named)
    leaves = [(name, place, _array(name, array, are_tensors)) for name, place, array in named]
    _check(data, leaves)
    reshape, found = tf.reshape if are_tensors else np.reshape, []
    for _, place, array in leaves:
        event = data.event_shape_of(place).as_list()
        shape = event if len(leaves) == 1 else [int(np.prod(event))]
        found.append(reshape(array, [-1, *shape]))
    if len(found) == 1:
        return found[0]
    return _tensor_concat(found) if are_tensors else np.concatenate(found, axis=1)


def _named(data: Parts, x: Any) -> Any:
    """Returns a sequence of arrays by the names of their parts, and anything else as it is."""
    if not isinstance(x, tuple | list):
        return x
    if len(x) != len(data.places):
        raise ValueError(
            f"`x` must have an array for each of {list(data.places)}, in this order, got {len(x)}"
        )
    return dict(zip(data.places, x, strict=True))


def _by_leaf(places: Places, x: Any, before: str) -> Iterator[tuple[str, int, Any]]:
    """Yields each leaf's name, place and array, in the order of the parts."""
    names, what = list(places), f"`x[{before[:-1]!r}]`" if before else "`x`"
    if not isinstance(x, Mapping) and not _columns(x):
        raise ValueError(f"{what} must be a dict of {names}, got {type(x).__name__}")
    given = list(x) if isinstance(x, Mapping) else _columns(x)
    for name in (*given, *names):
        if name not in names or name not in given:
            wrong = "is no part of the data; leave it out" if name in given else "is missing"
            raise ValueError(f"{what} must have the parts {names}: {name!r} {wrong}")
    for name, place in places.items():
        if isinstance(place, dict):
            yield from _by_leaf(place, x[name], f"{before}{name}/")
        else:
            yield f"{before}{name}", place, x[name]


def _check(data: Parts, leaves: list[tuple[str, int, Any]]) -> None:
    """Raises a `ValueError` unless each array has its part's shape, as far as it is known."""
    counts = {}
    for name, place, array in leaves:
        shape = tf.TensorShape(array.shape)
        event = "".join(f", {size}" for size in data.event_shape_of(place))
        if not data.fits(place, shape):
            raise ValueError(f"{name!r} must have shape [N{event}], got {list(array.shape)}")
        if not shape[1:].is_fully_defined():  # laid out anew, wrong values would pass for right
            raise ValueError(
                f"{name!r} must have shape [N{event}], got {shape}; state it, as by "
                f"`tf.ensure_shape` or the `output_signature` of a generator"
            )
        counts[name] = shape[0]
    known = {name: count for name, count in counts.items() if count is not None}
    if len(set(known.values())) > 1:
        raise ValueError(f"the parts must have as many rows, got {known}")


def _array(name: str, array: Any, as_tensor: bool) -> Any:
    """Returns one part as an array of numbers; what is masked or NA is NaN."""
    try:
        if not as_tensor or not tf.is_tensor(array) or is_no_array(array):
            # A column of a DataFrame as a DataFrame, of which NA are NaN.
            array = host_array(array.to_frame() if hasattr(array, "to_frame") else array)
        elif not (array.dtype.is_floating or array.dtype.is_integer or array.dtype.is_bool):
            raise ValueError(f"`x` must be an array of numbers, got dtype {array.dtype.name}")
    except ValueError as error:
        raise ValueError(str(error).replace("`x`", f"`x[{name!r}]`", 1)) from None
    return tf.convert_to_tensor(array) if as_tensor else array


def _tensor_concat(arrays: list[tf.Tensor]) -> tf.Tensor:
    """Concatenates in a dtype that holds all values, as NumPy would."""
    dtype = np.result_type(*(array.dtype.as_numpy_dtype for array in arrays))
    return tf.concat([tf.cast(array, dtype) for array in arrays], axis=1)
