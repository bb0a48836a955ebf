"""See `tfp_aevb.models.wake_sleep`."""

from tfp_aevb.models.wake_sleep import WakeSleep

__all__ = ["WakeSleep"]
