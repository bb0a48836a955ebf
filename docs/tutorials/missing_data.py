# %% [markdown]
# # Missing data
#
# A fitted model answers questions about parts of x: which digits have this upper half? What was the
# image before a third of its pixels were flipped? The answers are draws from p(x|y), with y what is
# known, so that they come with their uncertainty.

# %%
import numpy as np
import tf_keras

import tfp_aevb
from tfp_aevb import figures
from tfp_aevb.imputation import bit_flips, impute

# %%
digits = tfp_aevb.load_dataset("mnist_5k", binarize="threshold")
tf_keras.utils.set_random_seed(0)
model = tfp_aevb.AEVB(
    prior=tfp_aevb.StandardNormalPrior(latent_dim=10),
    encoder=tfp_aevb.DiagonalGaussianPosterior(latent_dim=10, hidden_units=[200]),
    decoder=tfp_aevb.BernoulliLikelihood(event_shape=784, hidden_units=[200]),
)
model.compile(tf_keras.optimizers.Adam(2e-3))
model.fit(digits.train.x, epochs=40, verbose=0)
original = digits.test.x[:8].astype(np.float32)

# %% [markdown]
# The lower half is missing. What is not known is NaN. `metropolis` draws from the model's exact
# conditional, whatever the encoder makes of half an image; `acceptance` says how its chains moved.

# %%
observed = original.copy().reshape(-1, 28, 28)
observed[:, 14:] = np.nan
observed = observed.reshape(-1, 784)
restored = impute(model, observed, method="metropolis", num_draws=5, num_samples=50, seed=0)
print(f"acceptance, mean over images: {restored.acceptance.mean():.2f}")

# %% [markdown]
# How good is the guess? Root mean squared error of the missing pixels, beside the mean digit's.

# %%
missing = np.isnan(observed)


def error(guess):
    return float(np.sqrt(np.mean((guess - original)[missing] ** 2)))


mean_digit = np.broadcast_to(digits.train.x.mean(axis=0), original.shape)
print(f"posterior mean {error(restored.mean):.3f}, mean digit {error(mean_digit):.3f}")

# %% [markdown]
# Look at it: originals, what was observed, the mean, its uncertainty, and draws.


# %%
def images(values):
    return np.reshape(values, [*np.shape(values)[:-1], 28, 28])


figure = figures.imputation_figure(
    images(observed),
    images(restored.mean),
    images(restored.stddev),
    images(restored.draws),
    originals=images(original),
)
figures.save_figure(figure, "lower_half.png")

# %% [markdown]
# Noise instead of gaps: every pixel was flipped with probability 0.2. `channel` is p(y|x); there
# are also Gaussian noise and block means, and a `Channel` of your own, any p(y|x) that factorises.

# %%
flips = np.random.default_rng(0).random(original.shape) < 0.2
noisy = np.where(flips, 1.0 - original, original)
cleaned = impute(model, noisy, channel=bit_flips(0.2), num_draws=5, num_samples=50, seed=0)
wrong = np.mean((cleaned.mean > 0.5) != (original > 0.5))
print(f"wrong pixels: {np.mean(flips):.3f} before, {wrong:.3f} after")
