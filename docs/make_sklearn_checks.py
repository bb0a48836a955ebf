"""Writes docs/sklearn_checks.md: `python docs/make_sklearn_checks.py`, about a minute.

Runs scikit-learn's own checks of an estimator on `AEVBTransformer`, with tiny settings and, since
compiling would take most of the time, without XLA; the slow tests make them with it.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import SkipTest

import sklearn
from sklearn.utils.estimator_checks import estimator_checks_generator

from tfp_aevb.models.aevb import AEVB
from tfp_aevb.sklearn import AEVBTransformer

PAGE = Path(__file__).with_name("sklearn_checks.md")
ESTIMATOR = AEVBTransformer(
    hidden_units=(8,), max_epochs=2, n_importance_samples=20, random_state=0
)
VERSION = f"scikit-learn {sklearn.__version__}"
HEAD = f"""# scikit-learn's checks of AEVBTransformer

Written by `python docs/make_sklearn_checks.py` from what `check_estimator` of
{VERSION} runs; none is excepted. `pytest tests/test_sklearn.py` makes the quick ones
again, with `-m slow` all, and compares.

| check | result | why |
|---|---|---|
"""


def checks() -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields each check's name, its arguments in brackets, and the function that makes it."""
    for estimator, check in estimator_checks_generator(ESTIMATOR):
        options = ", ".join(f"{name}={value}" for name, value in check.keywords.items())
        name = check.func.__name__ + (f"({options})" if options else "")
        yield name, lambda check=check, estimator=estimator: check(estimator)


def row(name: str, check: Callable[[], None]) -> str:
    """Makes a check; returns its line of the page."""
    try:
        check()
    except SkipTest as reason:
        return f"| {name} | skipped | {reason} |"
    except Exception as error:  # whatever a check raises, it is a failure
        return f"| {name} | failed | {str(error).splitlines()[0]} |"
    return f"| {name} | passed | |"


if __name__ == "__main__":
    AEVB.suits_xla = property(lambda self: False)
    PAGE.write_text(HEAD + "\n".join(row(*check) for check in checks()) + "\n")
