"""See `tfp_aevb.models.monte_carlo_em`."""

from tfp_aevb.models.monte_carlo_em import MonteCarloEM

__all__ = ["MonteCarloEM"]
