"""Inputs for fuzzing: whole files, what mutation makes of them, and files forged by hand."""

import io
import json
import struct
import zipfile
from typing import Any

import numpy as np
import scipy.io
from hypothesis import strategies as st

from tfp_aevb.runs.metrics import COLUMNS
from tfp_aevb.runs.settings.config import TrainConfig

GREY = np.arange(240, dtype=np.uint8).reshape(12, 4, 5)
_NUMBERS = st.one_of(
    st.integers(), st.floats(), st.sampled_from([2**31, 2**63, 10**400, -1, 0, 1e308, 1e-320])
)
_TEXT = st.text(max_size=12)


@st.composite
def mutated(draw: st.DrawFn, wholes: st.SearchStrategy[bytes]) -> bytes:
    """A file with bytes changed, cut out, repeated, or its end lost."""
    content = bytearray(draw(wholes))
    for _ in range(draw(st.integers(0, 4))):
        if not content:
            break
        place = draw(st.integers(0, len(content) - 1))
        length = draw(st.sampled_from([1, 1, 2, 4, 8, 64]))
        kind = draw(st.sampled_from(["set", "set", "flip", "cut", "repeat", "end", "number"]))
        if kind == "set":
            content[place : place + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del content[place : place + length]
        elif kind == "repeat":
            content[place:place] = content[place : place + length]
        elif kind == "end":
            del content[place:]
        else:  # a length or an offset that lies
            content[place : place + 4] = struct.pack("<I", draw(st.integers(0, 2**32 - 1)))
    return bytes(content)


def npy(array: np.ndarray) -> bytes:
    """Returns a .npy file."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    """Returns a compressed .npz file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


class Bomb:
    """What a pickle would run; if it does, the file it makes is found."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('a pickle was run')",))


@st.composite
def forged_npy(draw: st.DrawFn) -> bytes:
    """A .npy file whose header says what it likes."""
    header = draw(
        st.fixed_dictionaries(
            {
                "descr": st.one_of(
                    st.sampled_from(["<f4", "|u1", "<i8", "|O", "<U9", "|V8", ">f8", "<c8", "?"]),
                    _TEXT,
                    st.just([("a", "<f4"), ("b", "|O")]),
                ),
                "fortran_order": st.one_of(st.booleans(), _TEXT),
                "shape": st.one_of(
                    st.lists(st.integers(-5, 2**70), max_size=4).map(tuple),
                    st.lists(st.integers(0, 12), max_size=3).map(tuple),
                    _NUMBERS,
                ),
            }
        )
    )
    text = draw(st.sampled_from([repr(header), f"__import__('os').abort() or {header!r}"]))
    version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
    encoded = text.encode("utf-8", "replace") + b"\n"
    size = struct.pack("<H" if version == (1, 0) else "<I", len(encoded) % 65536)
    return b"\x93NUMPY" + bytes(version) + size + encoded + draw(st.binary(max_size=64))


@st.composite
def forged_npz(draw: st.DrawFn) -> bytes:
    """An archive of forged members, with names that are not right either."""
    stream = io.BytesIO()
    names = st.sampled_from(
        ["train", "x", "mask", "labels", "labels_train", "test", "../x", "train/", "",
         "model/000/kernel:0", "optimizer/000/iteration:0"]
    )  # fmt: skip
    with zipfile.ZipFile(stream, "w", draw(st.sampled_from([0, 8, 12, 14]))) as archive:
        for name in draw(st.lists(names, max_size=3, unique=True)):
            archive.writestr(f"{name}.npy", draw(st.one_of(forged_npy(), st.just(npy(GREY)))))
    return stream.getvalue()


def npy_files() -> st.SearchStrategy[bytes]:
    """Files that a data set's .npy may be."""
    wholes = [npy(GREY), npy(GREY / 255.0), npy(np.array([[Bomb()]] * 5, object))]
    return st.one_of(mutated(st.sampled_from(wholes)), forged_npy(), st.binary(max_size=200))


def npz_files() -> st.SearchStrategy[bytes]:
    """Files that a data set's .npz may be."""
    wholes = [
        npz(train=GREY, labels_train=np.arange(12)),
        npz(x_train=GREY / 9.0, x_test=GREY / 9.0),
        npz(train=np.array([[Bomb()]] * 5, object)),
    ]
    return st.one_of(mutated(st.sampled_from(wholes)), forged_npz(), st.binary(max_size=200))


def input_files() -> st.SearchStrategy[tuple[str, bytes]]:
    """Suffix and content of what `encode` and `impute` may be given."""
    wholes = [npz(x=GREY, labels=np.arange(12)), npz(x=GREY / 255.0, mask=GREY > 9)]
    return st.one_of(
        st.tuples(st.just(".npy"), npy_files()),
        st.tuples(st.just(".npz"), st.one_of(mutated(st.sampled_from(wholes)), forged_npz())),
    )


def mat_files() -> st.SearchStrategy[bytes]:
    """MATLAB files, small for speed: a whole one is refused for its shape."""
    wholes = []
    for compressed in (False, True):
        for value in (GREY[0], np.array([[{"a": 1}]], object), "text"):
            stream = io.BytesIO()
            scipy.io.savemat(stream, {"ff": value}, do_compression=compressed)
            wholes.append(stream.getvalue())
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"ff": GREY[0]}, format="4")
    return mutated(st.sampled_from([*wholes, stream.getvalue()]))


def checkpoints() -> st.SearchStrategy[bytes]:
    """Checkpoints of a model with one kernel [3, 2]."""
    arrays = {
        "model/000/kernel:0": np.zeros([3, 2], np.float32),
        "optimizer/000/iteration:0": np.array(7),
    }
    objects = {**arrays, "model/000/kernel:0": np.array([[Bomb()]], object)}
    wrong = {**arrays, "model/000/kernel:0": np.zeros([3, 2])}
    wholes = [npz(**arrays), npz(**objects), npz(**wrong)]
    return st.one_of(mutated(st.sampled_from(wholes)), forged_npz())


def config_files() -> st.SearchStrategy[bytes]:
    """Texts that a run's config.json may be."""
    data = {"event_shape": [20], "image_shape": [4, 5], "split_sizes": {"train": 9}}
    whole = {"config": TrainConfig().to_dict(), "data": data}
    values = st.recursive(
        st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXT),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)
        ),
        max_leaves=5,
    )
    names = st.sampled_from([*whole["config"], "unknown"])

    def changed(changes: dict[str, Any], shape: Any) -> bytes:
        config = {**whole["config"], **changes}
        described = data if shape is None else {**data, "event_shape": shape}
        return json.dumps({"config": config, "data": described}).encode()

    forged = st.builds(changed, st.dictionaries(names, values, max_size=3), values)
    return st.one_of(mutated(st.just(json.dumps(whole).encode())), forged)


def metrics_files() -> st.SearchStrategy[bytes]:
    """Texts that a run's metrics.csv may be."""
    rows = [",".join(str(step + i) for i in range(len(COLUMNS))) for step in (10, 20, 30, 40, 50)]
    whole = "\n".join([",".join(COLUMNS), *rows]) + "\n"
    return st.one_of(mutated(st.just(whole.encode())), st.binary(max_size=200))


def arguments() -> st.SearchStrategy[list[str]]:
    """Command lines of `train`."""
    names = st.sampled_from([*TrainConfig().to_dict(), "workdir", "flagfile", "undefok", "zz"])
    values = st.one_of(_NUMBERS.map(repr), _TEXT, st.sampled_from(["", "nan", "aevb", "1,2", "-"]))
    flag = st.one_of(
        st.builds("--{}={}".format, names, values),
        st.builds("--{}".format, names),
        st.builds("--no{}".format, names),
        _TEXT,
        st.builds("-{}".format, _TEXT),
    )
    return st.lists(flag, max_size=4)


def flag_files() -> st.SearchStrategy[bytes]:
    """Contents of a flag file."""
    lines = arguments().map(lambda flags: "\n".join(flags).encode("utf-8", "replace"))
    return st.one_of(mutated(lines), st.binary(max_size=100))
