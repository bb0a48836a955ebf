"""The paper's other algorithms, where version 0.1 had them."""

from tfp_aevb.models.ablated import AblatedAEVB
from tfp_aevb.models.monte_carlo_em import MonteCarloEM
from tfp_aevb.models.wake_sleep import WakeSleep

__all__ = ["AblatedAEVB", "MonteCarloEM", "WakeSleep"]
