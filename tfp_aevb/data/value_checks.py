"""The values that a likelihood gives probability to, and the one-line errors for others."""

import numpy as np

LEVEL_STEPS = 255  # of 8-bit pixels read as x / 255
_TOLERANCE = 0.01  # of a step: float32 does not hold k / 255 exactly


def check_values(values: np.ndarray, scale: float, support: str) -> None:
    """Raises a `ValueError` unless `values / scale` lie in `support`.

    Args:
        values: as stored, any shape, finite; perhaps none.
        scale: their divisor.
        support: `binary` {0, 1}, `unit` [0, 1], `open_unit` (0, 1), `levels` {0, 1/255, ..., 1},
            `counts` {0, 1, 2, ...}, `codes:K` {0, 1, ..., K - 1}, `table` or `real`.
    """
    if support in ("real", "table"):  # a table's likelihood checks each column by itself
        return
    if support == "binary":
        _refuse(
            values[(values != 0) & (values != scale)],
            scale,
            "a Bernoulli likelihood needs pixels 0 or 1, found {}; binarise them (static, dynamic, "
            "threshold), use a continuous Bernoulli, or allow grey pixels by `allow_grey`",
        )
    elif support == "unit":
        check_unit_range(values, scale, "this likelihood")
    elif support == "open_unit":
        _refuse(
            values[(values <= 0) | (values >= scale)],
            scale,
            "a beta likelihood needs values in (0, 1), without the ends, found {}; move the ends "
            "inside, rescale the data, or use a continuous Bernoulli",
        )
    elif support == "levels":
        steps = values * (LEVEL_STEPS / scale)
        nearest = np.clip(np.round(steps), 0, LEVEL_STEPS)
        _refuse(
            values[np.abs(steps - nearest) > _TOLERANCE],
            scale,
            "a discretised logistic likelihood needs 8-bit pixels 0, 1/255, ..., 1, found {}; pass "
            "uint8 pixels with `scale` 255, or use a continuous Bernoulli",
        )
    elif support == "counts":
        read = values / np.float32(scale)
        _refuse(
            values[(read != np.round(read)) | (read < 0)],
            scale,
            "this likelihood needs counts 0, 1, 2, ..., found {}; do not scale them, or use a "
            "Gaussian",
        )
    elif support.startswith("codes:"):
        largest = int(support.removeprefix("codes:")) - 1
        read = values / np.float32(scale)
        _refuse(
            values[(read != np.round(read)) | (read < 0) | (read > largest)],
            scale,
            f"a categorical likelihood of {largest + 1} categories needs the codes 0 to {largest}, "
            "found {}; do not scale them, or give as many categories as there are",
        )
    else:
        raise ValueError(f"`support` is {support!r}, which is none that data are checked against")


def check_unit_range(values: np.ndarray, scale: float, what: str) -> None:
    """Raises a `ValueError` unless `values / scale`, which `what` needs, lie in [0, 1]."""
    if not values.size:
        return
    low, high = float(values.min()) / scale, float(values.max()) / scale
    if low < 0.0 or high > 1.0:
        raise ValueError(
            f"{what} needs values in [0, 1], got [{low:.4g}, {high:.4g}]; "
            "pass `scale` (255 for uint8 pixels) or rescale the data"
        )


def _refuse(outside: np.ndarray, scale: float, message: str) -> None:
    if outside.size:
        raise ValueError(message.format(f"{float(outside.flat[0]) / scale:.4g}"))
