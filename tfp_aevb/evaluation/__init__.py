"""What a trained model is worth: estimates of log p(x) beside the bound."""

from tfp_aevb.evaluation.annealing import AnnealedEstimate, annealed_log_prob
from tfp_aevb.evaluation.convergence import ess_bulk, ess_tail, r_hat
from tfp_aevb.evaluation.gradients import GradientVariance, gradient_variance
from tfp_aevb.evaluation.hmc import HmcEstimate, PosteriorDraws, hmc_log_prob, sample_posterior
from tfp_aevb.evaluation.importance import ImportanceEstimate, importance_log_prob
from tfp_aevb.models.free_posterior import fit_free_posterior

__all__ = [
    "AnnealedEstimate",
    "GradientVariance",
    "HmcEstimate",
    "ImportanceEstimate",
    "PosteriorDraws",
    "annealed_log_prob",
    "ess_bulk",
    "ess_tail",
    "fit_free_posterior",
    "gradient_variance",
    "hmc_log_prob",
    "importance_log_prob",
    "r_hat",
    "sample_posterior",
]
