"""See `tfp_aevb.models.full_vb`."""

from tfp_aevb.models.full_vb import FullVB

__all__ = ["FullVB"]
