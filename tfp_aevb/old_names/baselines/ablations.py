"""See `tfp_aevb.models.ablated`."""

from tfp_aevb.models.ablated import AblatedAEVB

__all__ = ["AblatedAEVB"]
