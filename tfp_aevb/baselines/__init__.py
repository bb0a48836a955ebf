"""The paper's competitors, and its method without some of its parts, under the same trainer."""

from tfp_aevb.baselines.ablations import AblatedAEVB
from tfp_aevb.baselines.monte_carlo_em import MonteCarloEM
from tfp_aevb.baselines.wake_sleep import WakeSleep

__all__ = ["AblatedAEVB", "MonteCarloEM", "WakeSleep"]
