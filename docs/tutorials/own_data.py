# %% [markdown]
# # Your own data, from an array
#
# A model is fitted to a NumPy array: 4,000 images of digits here, any [N, D] numbers of yours. You
# see how good it is (a bound in nats, and an estimate of log p(x)), what it learned (pictures), and
# keep it in a file.

# %%
import numpy as np
import tf_keras

import tfp_aevb
from tfp_aevb import figures

# %% [markdown]
# The data: float32 or uint8, one datapoint a row. A Bernoulli likelihood wants zeros and ones;
# grey pixels would be given to `tfp_aevb.Observations(x, scale=255, dynamic_binarization=True)`,
# real numbers to a `GaussianLikelihood`.

# %%
digits = tfp_aevb.load_dataset("mnist_5k", binarize="threshold")
x_train, x_test = digits.train.x, digits.test.x
print(x_train.shape, x_train.dtype, np.unique(x_train))

# %% [markdown]
# The model p(z) p(x|z) and the recognition network q(z|x).

# %%
tf_keras.utils.set_random_seed(0)
model = tfp_aevb.AEVB(
    prior=tfp_aevb.StandardNormalPrior(latent_dim=10),
    encoder=tfp_aevb.DiagonalGaussianPosterior(latent_dim=10, hidden_units=[200]),
    decoder=tfp_aevb.BernoulliLikelihood(event_shape=784, hidden_units=[200]),
)
model.compile(tf_keras.optimizers.Adam(2e-3))
history = model.fit(x_train, epochs=40, validation_data=digits.validation.x, verbose=0).history

# %% [markdown]
# How good is it? The bound lies below log p(x); importance sampling through q comes closer to it.

# %%
bound = model.evaluate(x_test, verbose=0, return_dict=True)["elbo"]
estimate = tfp_aevb.importance_log_prob(model, x_test[:100], num_samples=500, seed=0)
log_prob = float(np.mean(estimate.log_prob))
print(f"test bound {bound:.1f} nats; log p(x) of 100 test images about {log_prob:.1f} nats")
print(f"median effective samples: {np.median(estimate.effective_sample_size):.0f} of 500")

# %% [markdown]
# What did it learn? Reconstructions, and new digits.


# %%
def images(values):
    return np.reshape(values, [-1, 28, 28])


shown = x_test[:10]
figure = figures.reconstructions_figure(images(shown), images(model.reconstruct(shown)))
figures.save_figure(figure, "reconstructions.png")
means = model.sample_with_latents(25, seed=1).mean
figures.save_figure(figures.samples_figure(images(means)), "samples.png")

# %% [markdown]
# Keep it: a `.keras` file goes on training where it stopped; a SavedModel serves (see the tutorial
# on serving).

# %%
model.save("digits.keras")
again = tf_keras.models.load_model("digits.keras")
same = np.array_equal(again.encode(shown).mean(), model.encode(shown).mean())
print(f"the loaded model encodes the same: {same}")
