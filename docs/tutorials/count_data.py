# %% [markdown]
# # A model of your own: counts
#
# How often each of 12 species was seen at 3,000 places. Counts are not Gaussian: the likelihood is
# a negative binomial, written with TFP; the latents are what the places have in common. The data
# are made from a known model, so that you can see what is found again.

# %%
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras

import tfp_aevb

tfd = tfp.distributions
SPECIES, LATENTS, DISPERSION = 12, 2, 4.0

# %%
rng = np.random.default_rng(0)
loadings = rng.normal(0.0, 0.8, [LATENTS, SPECIES])
abundance = rng.normal(1.0, 0.5, SPECIES)
z_true = rng.normal(size=[3500, LATENTS])
rates = np.exp(z_true @ loadings + abundance)
counts = rng.poisson(rng.gamma(DISPERSION, rates / DISPERSION)).astype(np.float32)
x_train, x_test = counts[:3000], counts[3000:]
print(x_train[:3])

# %% [markdown]
# The decoder is a tf_keras layer that returns a distribution over one datapoint: log rates from a
# linear map, one dispersion for each species. Any `tfd.Distribution` with a `log_prob` will do. The
# encoder sees log(1 + x), for raw counts can be large.


# %%
class NegativeBinomialDecoder(tf_keras.layers.Layer):
    def build(self, input_shape):
        self.dense = tf_keras.layers.Dense(SPECIES)
        self.dense.build(input_shape)
        self.log_dispersion = self.add_weight("log_dispersion", [SPECIES], initializer="zeros")
        super().build(input_shape)

    def call(self, z):
        log_rate = self.dense(z)
        # Mean exp(log_rate), variance mean + mean^2 / dispersion.
        log_odds = log_rate - self.log_dispersion
        dispersion = tf.exp(self.log_dispersion) * tf.ones_like(log_rate)
        return tfd.Independent(tfd.NegativeBinomial(dispersion, logits=log_odds), 1)


class CountEncoder(tf_keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.gaussian = tfp_aevb.FullCovarianceGaussianPosterior(LATENTS, hidden_units=[64])

    def call(self, x):
        return self.gaussian(tf.math.log1p(x))


# %%
tf_keras.utils.set_random_seed(0)
model = tfp_aevb.AEVB(
    prior=tfd.MultivariateNormalDiag(tf.zeros(LATENTS), tf.ones(LATENTS)),
    encoder=CountEncoder(),
    decoder=NegativeBinomialDecoder(),
)
model.compile(tf_keras.optimizers.Adam(5e-3))
model.fit(x_train, epochs=60, verbose=0)

# %% [markdown]
# Is the posterior good? Importance sampling says how far the bound is from log p(x).

# %%
bound = float(np.mean(model.elbo(x_test, num_samples=100, seed=0)))
log_prob = float(
    np.mean(tfp_aevb.importance_log_prob(model, x_test, num_samples=1000, seed=0).log_prob)
)
print(f"test bound {bound:.2f}, log p(x) {log_prob:.2f} nats")

# %% [markdown]
# What was found again? Latents may come out rotated, so the space that the loadings span is
# compared, and the dispersions.

# %%
found = model.decoder.dense.kernel.numpy()
basis = np.linalg.qr(found.T)[0]
explained = 1.0 - np.sum((loadings.T - basis @ basis.T @ loadings.T) ** 2) / np.sum(loadings**2)
dispersions = np.exp(model.decoder.log_dispersion.numpy())
print(f"{explained:.1%} of the true loadings lie in the space found")
print(f"dispersions: median {np.median(dispersions):.1f}, true {DISPERSION}")
