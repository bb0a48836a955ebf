"""See `tfp_aevb.models`."""

from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.models.wake_sleep import WakeSleep

__all__ = ["AblatedAEVB", "MonteCarloEM", "WakeSleep"]
