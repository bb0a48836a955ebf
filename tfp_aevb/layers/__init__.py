"""TFP distribution layers: the prior p(z), the encoder q(z|x) and the decoder p(x|z)."""

from tfp_aevb.layers.constrained_priors import (
    DirichletPrior,
    ExponentialPrior,
    LogNormalPrior,
    UniformPrior,
)
from tfp_aevb.layers.convolutions import ConvDecoder, ConvEncoder
from tfp_aevb.layers.count_likelihoods import (
    NegativeBinomialLikelihood,
    PoissonLikelihood,
    ZeroInflatedNegativeBinomialLikelihood,
    ZeroInflatedPoissonLikelihood,
)
from tfp_aevb.layers.flow_posteriors import (
    ConstrainedPosterior,
    FlowPosterior,
    LowRankGaussianPosterior,
)
from tfp_aevb.layers.hierarchy import HierarchicalPosterior, HierarchicalPrior
from tfp_aevb.layers.learned_priors import FlowPrior, VampPrior
from tfp_aevb.layers.level_likelihoods import CategoricalLikelihood, DiscretizedLogisticLikelihood
from tfp_aevb.layers.likelihoods import (
    BernoulliLikelihood,
    ContinuousBernoulliLikelihood,
    GaussianLikelihood,
)
from tfp_aevb.layers.missing import ObservedInputs
from tfp_aevb.layers.networks import MLP
from tfp_aevb.layers.posteriors import DiagonalGaussianPosterior, FullCovarianceGaussianPosterior
from tfp_aevb.layers.priors import DiagonalNormalPrior, GaussianMixturePrior, StandardNormalPrior
from tfp_aevb.layers.real_likelihoods import BetaLikelihood, StudentTLikelihood
from tfp_aevb.layers.tables import MixedLikelihood, TableInputs

__all__ = [
    "MLP",
    "BernoulliLikelihood",
    "BetaLikelihood",
    "CategoricalLikelihood",
    "ConstrainedPosterior",
    "ContinuousBernoulliLikelihood",
    "ConvDecoder",
    "ConvEncoder",
    "DiagonalGaussianPosterior",
    "DiagonalNormalPrior",
    "DirichletPrior",
    "DiscretizedLogisticLikelihood",
    "ExponentialPrior",
    "FlowPosterior",
    "FlowPrior",
    "FullCovarianceGaussianPosterior",
    "GaussianLikelihood",
    "GaussianMixturePrior",
    "HierarchicalPosterior",
    "HierarchicalPrior",
    "LogNormalPrior",
    "LowRankGaussianPosterior",
    "MixedLikelihood",
    "NegativeBinomialLikelihood",
    "ObservedInputs",
    "PoissonLikelihood",
    "StandardNormalPrior",
    "StudentTLikelihood",
    "TableInputs",
    "UniformPrior",
    "VampPrior",
    "ZeroInflatedNegativeBinomialLikelihood",
    "ZeroInflatedPoissonLikelihood",
]
