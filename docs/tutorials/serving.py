# %% [markdown]
# # Serving
#
# A trained model becomes a SavedModel: a folder that any program with TensorFlow runs, without this
# package, Keras or TFP.

# %%
import subprocess
import sys

import numpy as np
import tf_keras

import tfp_aevb

# %%
digits = tfp_aevb.load_dataset("mnist_5k", binarize="threshold")
tf_keras.utils.set_random_seed(0)
model = tfp_aevb.AEVB(
    prior=tfp_aevb.StandardNormalPrior(latent_dim=5),
    encoder=tfp_aevb.DiagonalGaussianPosterior(latent_dim=5, hidden_units=[100]),
    decoder=tfp_aevb.BernoulliLikelihood(event_shape=784, hidden_units=[100]),
)
model.compile(tf_keras.optimizers.Adam(2e-3))
model.fit(digits.train.x, epochs=5, verbose=0)
tfp_aevb.export_saved_model(model, "digits_model")

# %% [markdown]
# Another process, with TensorFlow alone. Every signature takes and gives named tensors; those that
# draw take a `seed` of two numbers, and the same seed gives the same draws.

# %%
client = """
import numpy as np, tensorflow as tf
served = tf.saved_model.load("digits_model")
x = tf.constant(np.load("request.npy"))
code = served.signatures["encode"](x=x)
image = served.signatures["decode"](z=code["loc"])["mean"]
drawn = served.signatures["sample"](num_samples=tf.constant(3), seed=tf.constant([0, 1]))
score = served.signatures["log_prob"](
    x=x, num_samples=tf.constant(100), seed=tf.constant([0, 1]))["log_prob"]
np.savez("answer.npz", loc=code["loc"], image=image, drawn=drawn["mean"], log_prob=score)
"""
request = digits.test.x[:20].astype(np.float32)
np.save("request.npy", request)
subprocess.run([sys.executable, "-c", client], check=True)

# %% [markdown]
# The answers are those of the model here.

# %%
answer = np.load("answer.npz")
difference = float(np.abs(answer["loc"] - model.encode(request).mean()).max())
print(f"largest difference of the latents: {difference:.1e}")
print(
    f"log p(x) of the request: {answer['log_prob'].mean():.1f} nats; drawn {answer['drawn'].shape}"
)
# %% [markdown]
# On the command line, `python -m tfp_aevb train` ends with the same folder in its `--workdir`, and
# `python -m tfp_aevb export --workdir=... --output=...` writes it elsewhere.
