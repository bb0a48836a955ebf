"""The paper's competitors, under the same trainer as auto-encoding variational Bayes."""

from tfp_aevb.baselines.monte_carlo_em import MonteCarloEM
from tfp_aevb.baselines.wake_sleep import WakeSleep

__all__ = ["MonteCarloEM", "WakeSleep"]
