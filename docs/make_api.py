"""Writes the API reference, from the docstrings: `python docs/make_api.py [FOLDER]`.

Needs `pip install -e '.[docs]'`. The pages are written to `build/api` by default; a warning is an
error.
"""

import sys
import warnings
from pathlib import Path

import pdoc
import pdoc.render

import tfp_aevb

MODULES = (
    "tfp_aevb",
    *(f"tfp_aevb.{name}" for name in ("layers", "objectives", "evaluation", "baselines", "data")),
    *(f"tfp_aevb.{name}" for name in ("imputation", "figures", "training")),
)


def main(folder: str = "build/api") -> None:
    """Writes the pages."""
    for name in tfp_aevb.__all__:  # resolved when first used; the generator looks only
        getattr(tfp_aevb, name)
    warnings.simplefilter("error")
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*MODULES, output_directory=Path(folder))
    print(Path(folder) / "tfp_aevb.html")


if __name__ == "__main__":
    main(*sys.argv[1:])
