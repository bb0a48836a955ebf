"""Where version 0.1 had `tfp_aevb.distributions.noise`."""

from tfp_aevb.distributions.noise import RowNoise, compiled

__all__ = ["RowNoise", "compiled"]
