"""Amortised variational inference with TensorFlow Probability ("Auto-Encoding Variational Bayes").

Names are resolved when first used, so that importing the package does not import TensorFlow.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The modules that version 0.1 had elsewhere.
__path__.append(str(Path(__file__).parent / "old_names"))

_HOMES = {
    # The model and its parts.
    "AEVB": "tfp_aevb.models.aevb",
    "StandardNormalPrior": "tfp_aevb.layers",
    "DiagonalNormalPrior": "tfp_aevb.layers",
    "GaussianMixturePrior": "tfp_aevb.layers",
    "DiagonalGaussianPosterior": "tfp_aevb.layers",
    "FullCovarianceGaussianPosterior": "tfp_aevb.layers",
    "BernoulliLikelihood": "tfp_aevb.layers",
    "ContinuousBernoulliLikelihood": "tfp_aevb.layers",
    "GaussianLikelihood": "tfp_aevb.layers",
    "JointAEVB": "tfp_aevb.models.joint.model",
    "FullVB": "tfp_aevb.models.full_vb",
    "WakeSleep": "tfp_aevb.models.wake_sleep",
    "MonteCarloEM": "tfp_aevb.models.monte_carlo_em",
    "AblatedAEVB": "tfp_aevb.models.ablated",
    # Estimators.
    "sgvb_a": "tfp_aevb.objectives",
    "sgvb_b": "tfp_aevb.objectives",
    "importance_log_prob": "tfp_aevb.evaluation",
    "impute": "tfp_aevb.imputation",
    # Data, training and serving.
    "load_dataset": "tfp_aevb.data",
    "Stream": "tfp_aevb.data",
    "Column": "tfp_aevb.data.columns",
    "read_table": "tfp_aevb.data.tables",
    "EarlyStopping": "tfp_aevb.runs.early_stopping",
    "Observations": "tfp_aevb.data.observations",
    "TrainConfig": "tfp_aevb.runs.settings.config",
    "train_and_evaluate": "tfp_aevb.runs.train",
    "load_run": "tfp_aevb.runs.finish",
    "export_saved_model": "tfp_aevb.export",
}

__all__ = ["__version__", *_HOMES]


if TYPE_CHECKING:  # the types of the same names, for mypy and editors
    from tfp_aevb.data import Stream as Stream
    from tfp_aevb.data import load_dataset as load_dataset
    from tfp_aevb.data.columns import Column as Column
    from tfp_aevb.data.observations import Observations as Observations
    from tfp_aevb.data.tables import read_table as read_table
    from tfp_aevb.evaluation import importance_log_prob as importance_log_prob
    from tfp_aevb.export import export_saved_model as export_saved_model
    from tfp_aevb.imputation import impute as impute
    from tfp_aevb.layers import BernoulliLikelihood as BernoulliLikelihood
    from tfp_aevb.layers import ContinuousBernoulliLikelihood as ContinuousBernoulliLikelihood
    from tfp_aevb.layers import DiagonalGaussianPosterior as DiagonalGaussianPosterior
    from tfp_aevb.layers import DiagonalNormalPrior as DiagonalNormalPrior
    from tfp_aevb.layers import FullCovarianceGaussianPosterior as FullCovarianceGaussianPosterior
    from tfp_aevb.layers import GaussianLikelihood as GaussianLikelihood
    from tfp_aevb.layers import GaussianMixturePrior as GaussianMixturePrior
    from tfp_aevb.layers import StandardNormalPrior as StandardNormalPrior
    from tfp_aevb.models.ablated import AblatedAEVB as AblatedAEVB
    from tfp_aevb.models.aevb import AEVB as AEVB
    from tfp_aevb.models.full_vb import FullVB as FullVB
    from tfp_aevb.models.joint.model import JointAEVB as JointAEVB
    from tfp_aevb.models.monte_carlo_em import MonteCarloEM as MonteCarloEM
    from tfp_aevb.models.wake_sleep import WakeSleep as WakeSleep
    from tfp_aevb.objectives import sgvb_a as sgvb_a
    from tfp_aevb.objectives import sgvb_b as sgvb_b
    from tfp_aevb.runs.early_stopping import EarlyStopping as EarlyStopping
    from tfp_aevb.runs.finish import load_run as load_run
    from tfp_aevb.runs.settings.config import TrainConfig as TrainConfig
    from tfp_aevb.runs.train import train_and_evaluate as train_and_evaluate
else:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'tfp_aevb' has no attribute {name!r}")
        found = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = found  # the next time it is found at once
        return found


def __dir__() -> list[str]:
    return sorted(__all__)
