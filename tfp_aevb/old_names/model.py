"""See `tfp_aevb.models.aevb`."""

from tfp_aevb.models.aevb import AEVB, ModelSample

__all__ = ["AEVB", "ModelSample"]
