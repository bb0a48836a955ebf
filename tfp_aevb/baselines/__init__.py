"""The paper's competitors, under the same trainer as auto-encoding variational Bayes."""

from tfp_aevb.baselines.wake_sleep import WakeSleep

__all__ = ["WakeSleep"]
