"""A scikit-learn estimator: latents of a table, and its density, in pipelines and searches."""

import contextlib
import math
import random
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tfp_aevb import layers
from tfp_aevb.data.observations import Observations
from tfp_aevb.evaluation.constants import constant_bound
from tfp_aevb.evaluation.judgement import Training, divergence
from tfp_aevb.models.aevb import AEVB, posterior_moments
from tfp_aevb.utils.seeds import as_seed

LIKELIHOODS = ("gaussian", "bernoulli", "continuous_bernoulli")
ROWS = 100  # scored, encoded or decoded at once


class AEVBTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Amortised variational inference on a table [N, D], as scikit-learn has it.

    A latent-variable model p(z) p(x|z) and its recognition model q(z|x), one-hidden-layer networks
    by default, are fitted by maximising the evidence lower bound (Algorithm 1). Columns of a
    Gaussian likelihood should be of one scale: put a `StandardScaler` before it.

    Args:
        n_components: J, dimension of z.
        hidden_units: hidden layers' widths, of encoder and decoder; may be empty.
        activation: of the hidden layers.
        likelihood: p(x|z): `gaussian` (one variance for each column), `bernoulli` (for zeros and
            ones) or `continuous_bernoulli` (for values in [0, 1]).
        learning_rate: Adam's.
        batch_size: M.
        max_epochs: passes over the data.
        n_importance_samples: K of `score_samples`.
        random_state: int, `RandomState` or `None`.

    Attributes:
        model_: the fitted `AEVB`.
        bound_: mean evidence lower bound of each epoch, nats.
        n_features_in_: D.
        n_iter_: epochs run.
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        hidden_units: Sequence[int] = (100,),
        activation: str = "tanh",
        likelihood: str = "gaussian",
        learning_rate: float = 1e-3,
        batch_size: int = 100,
        max_epochs: int = 100,
        n_importance_samples: int = 200,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_components = n_components
        self.hidden_units = hidden_units
        self.activation = activation
        self.likelihood = likelihood
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.n_importance_samples = n_importance_samples
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "AEVBTransformer":  # noqa: N803
        """Fits the model to `X` [N, D]; `y` is ignored.

        A `ConvergenceWarning` says that training diverged.

        Raises:
            ValueError: if a setting is wrong, or `X` is not finite or outside the likelihood's
                support.
        """
        del y
        X = validate_data(self, X, dtype=np.float32, ensure_min_samples=2)  # noqa: N806
        self._check_settings()
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.model_ = self._build()
        self.model_.compile(tf_keras.optimizers.Adam(self.learning_rate))
        history = self.model_.fit(
            X, batch_size=self.batch_size, epochs=self.max_epochs, verbose=0
        ).history
        self.bound_ = np.array(history["elbo"])
        self.n_iter_ = len(self.bound_)
        self._warn_of_divergence(X, float(history["kl"][-1]))
        return self

    def _check_settings(self) -> None:
        """Raises a `ValueError` unless each setting is one."""
        if self.likelihood not in LIKELIHOODS:
            raise ValueError(f"likelihood must be one of {LIKELIHOODS}, got {self.likelihood!r}")
        for name in ("n_components", "batch_size", "max_epochs", "n_importance_samples"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate!r}")

    def _warn_of_divergence(self, x: np.ndarray, kl: float) -> None:
        data, bounds = Observations(x), self.bound_.tolist()
        found = Training(
            steps=range(1, len(bounds) + 1),
            bounds=bounds,
            train=bounds[-1],
            test=bounds[-1],
            kl=kl,
            constants=constant_bound(self.model_.decoder, data, data),
            num_elements=x.shape[1],
            num_latents=self.n_components,
        )
        line = divergence(found, "Lower `learning_rate`, and scale the columns.")
        if line:
            warnings.warn(line, ConvergenceWarning, stacklevel=3)

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the means of q(z|x), [N, J]."""
        X = self._checked(X)  # noqa: N806
        return _in_batches(lambda x: self.model_.encode(x).mean(), X)

    def inverse_transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Returns the means of p(x|z) for latents `X` [N, J]: [N, D]."""
        check_is_fitted(self)
        z = np.asarray(X, np.float32)
        if z.ndim != 2 or z.shape[1] != self.n_components:
            raise ValueError(f"latents must have shape [N, {self.n_components}], got {z.shape}")
        return _in_batches(lambda z: self.model_.decode(z).mean(), z)

    def score_samples(self, X: Any) -> np.ndarray:  # noqa: N803
        """Estimates log p(x) of each row by importance sampling: [N], nats.

        The draws are the same for every row and in every call.
        """
        X = self._checked(X)  # noqa: N806
        return _in_batches(self._log_prob, X)

    def score(self, X: Any, y: Any = None) -> float:  # noqa: N803
        """Returns the mean of `score_samples`: nats."""
        del y
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1) -> np.ndarray:
        """Draws from p(z) p(x|z): [n_samples, D]; every call draws the same."""
        check_is_fitted(self)
        return self.model_.sample(n_samples, seed=self._seed).numpy()

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        # One eps [K, 1, J] for all rows: a row's score does not depend on which others there are.
        count = self.n_importance_samples
        eps = tf.random.stateless_normal([count, 1, self.n_components], as_seed(self._seed))
        posterior = self.model_.encode(x)
        loc, stddev = posterior_moments(posterior)
        z = loc + stddev * eps  # [K, B, J]
        log_weights = self.model_.log_joint(x, z) - posterior.log_prob(z)
        return tf.reduce_logsumexp(log_weights, axis=0) - math.log(count)

    def _checked(self, X: Any) -> np.ndarray:  # noqa: N803
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float32, reset=False)

    def _build(self) -> AEVB:
        network: dict[str, Any] = {
            "hidden_units": tuple(self.hidden_units),
            "activation": self.activation,
            "init_stddev": None,
        }
        count = self.n_features_in_
        likelihoods = {
            "gaussian": lambda: layers.GaussianLikelihood(count, variance="global", **network),
            "bernoulli": lambda: layers.BernoulliLikelihood(count, **network),
            "continuous_bernoulli": lambda: layers.ContinuousBernoulliLikelihood(count, **network),
        }
        with _first_weights(self._seed):
            return AEVB(
                layers.StandardNormalPrior(self.n_components),
                layers.DiagonalGaussianPosterior(self.n_components, **network),
                likelihoods[self.likelihood](),
                seed=self._seed,
            )

    @property
    def _n_features_out(self) -> int:
        return self.n_components

    def __getstate__(self) -> dict[str, Any]:
        """Returns the settings and arrays: models are pickled by their weights."""
        state = super().__getstate__()
        if "model_" in state:
            state = {**state, "model_": self.model_.get_weights()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "model_" in state:
            self.model_ = self._build()
            self.model_.set_weights(state["model_"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = False
        return tags


def _in_batches(function: Any, x: np.ndarray) -> np.ndarray:
    """Applies a function of rows, `ROWS` at a time.

    All batches are of one size, the last padded by zeros: that a row's result does not depend, by
    rounding, on how many others there are.
    """
    parts = []
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        padded = np.concatenate([rows, np.zeros([ROWS - len(rows), *x.shape[1:]], np.float32)])
        parts.append(function(tf.constant(padded)).numpy()[: len(rows)])
    return np.concatenate(parts)


@contextlib.contextmanager
def _first_weights(seed: int) -> Iterator[None]:
    """Draws layers' first weights by `seed`, and leaves Python's and NumPy's streams alone."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    tf_keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
