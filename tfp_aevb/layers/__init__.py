"""TFP distribution layers: the prior p(z), the encoder q(z|x) and the decoder p(x|z)."""

from tfp_aevb.layers.convolutions import ConvDecoder, ConvEncoder
from tfp_aevb.layers.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
)
from tfp_aevb.layers.networks import MLP
from tfp_aevb.layers.posteriors import DiagonalGaussianPosterior, FullCovarianceGaussianPosterior
from tfp_aevb.layers.priors import DiagonalNormalPrior, GaussianMixturePrior, StandardNormalPrior
from tfp_aevb.layers.tables import MixedLikelihood, TableInputs

__all__ = [
    "MLP",
    "BernoulliLikelihood",
    "ContinuousBernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "DiagonalGaussianPosterior",
    "DiagonalNormalPrior",
    "FullCovarianceGaussianPosterior",
    "GaussianLikelihood",
    "GaussianMixturePrior",
    "MixedLikelihood",
    "StandardNormalPrior",
    "TableInputs",
]
