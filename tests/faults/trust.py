"""Trust in numbers: calibration of posteriors, blocks of any length, the spread over seeds."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.processes import forked, in_child
from tests.faults.record import Row
from tests.integration.runs import command

RANKS = 20  # draws a simulation: ranks 0 to 19 (19 draws) are uniform if the posterior is right
P_VALUE = 1e-3


def calibrate(tries: int, seed: int, folder: Path) -> list[Row]:
    """Simulation-based calibration on a linear-Gaussian model: ranks of z among draws from q."""
    del folder
    found = in_child(partial(_calibrate, tries, seed))
    rows = []
    for name, p_values in found.items():
        row = Row(
            f"calibration of {name}",
            f"ranks uniform: p > {P_VALUE} (chi-square, each latent)",
            tries,
        )
        row.note(f"p = {[round(p, 4) for p in p_values]}")
        spoilt = "spoilt" in name
        if (min(p_values) > P_VALUE) == spoilt:
            row.err("not found out" if spoilt else "ranks are not uniform")
        rows.append(row)
    return rows


def _calibrate(tries: int, seed: int, learn: bool = True) -> dict[str, list[float]]:
    import tensorflow as tf
    import tf_keras

    from tests.helpers import LinearGaussian, compiled
    from tfp_aevb import layers
    from tfp_aevb.evaluation import sample_posterior
    from tfp_aevb.models.aevb import AEVB

    truth = LinearGaussian()
    rng = np.random.default_rng(seed)
    z = rng.normal(size=[tries, truth.latent_dim])
    noise = rng.normal(size=[tries, truth.data_dim]) * np.sqrt(truth.variance)
    x = tf.constant(z @ truth.weights.T + truth.bias + noise, tf.float32)

    def ranks(draws: Any) -> list[float]:
        return [_uniform((np.asarray(draws)[..., j] < z[:, j]).sum(0)) for j in range(z.shape[1])]

    def model_with(encoder: Any) -> AEVB:
        prior = layers.StandardNormalPrior(truth.latent_dim)
        return AEVB(prior, encoder, truth.decoder(tf.float32), seed=seed)

    exact = model_with(truth.encoder(dtype=tf.float32))
    spoilt = model_with(truth.encoder(widen=1.3, dtype=tf.float32))
    found = {
        "the exact posterior": exact.encode(x).sample(RANKS - 1, seed=[seed, 1]),
        "a posterior spoilt on purpose": spoilt.encode(x).sample(RANKS - 1, seed=[seed, 1]),
    }
    if learn:
        tf_keras.utils.set_random_seed(seed)
        learned = compiled(
            model_with(layers.FullCovarianceGaussianPosterior(truth.latent_dim, ())),
            tf_keras.optimizers.Adam(tf_keras.optimizers.schedules.CosineDecay(0.02, 6000)),
        )
        data = truth.data(20_000, seed=seed + 1).astype(np.float32)
        learned.fit(data, batch_size=100, epochs=30, verbose=0)
        found["a learned encoder"] = learned.encode(x).sample(RANKS - 1, seed=[seed, 2])
        chains = sample_posterior(exact, x, RANKS - 1, num_chains=1, burn_in=100, seed=seed)
        found["Hamiltonian Monte Carlo"] = chains.z[:, 0]
    return {name: ranks(draws) for name, draws in found.items()}


def _uniform(ranks: np.ndarray) -> float:
    from scipy.stats import chisquare

    return float(chisquare(np.bincount(ranks, minlength=RANKS)).pvalue)


def blocks(tries: int, seed: int, folder: Path) -> list[Row]:
    """The same fit under random `steps_per_execution`: weights and sums equal bit for bit."""
    del folder
    row = Row("steps_per_execution", "weights and metrics equal, bit for bit")
    row.tries, different = in_child(partial(_blocks, tries, seed))
    for length in different:
        row.err(f"steps_per_execution={length} differs")
    return [row]


def _blocks(tries: int, seed: int) -> tuple[int, list[int]]:
    import tf_keras

    from tests.helpers import binary_data, compiled, small_model

    rng = np.random.default_rng(seed)
    lengths = [1, *sorted({int(n) for n in rng.integers(2, 300, tries - 1)})]
    results = []
    for length in lengths:
        model = compiled(small_model(), tf_keras.optimizers.Adam(0.01), steps_per_execution=length)
        history = model.fit(binary_data(105), batch_size=10, epochs=3, verbose=0).history
        results.append([v.numpy().tobytes() for v in model.variables] + [str(history)])
    return len(lengths), [n for n, r in zip(lengths, results, strict=True) if r != results[0]]


def seeds(tries: int, seed: int, folder: Path) -> list[Row]:
    """The same run under `tries` seeds: the spread of its test bound."""
    row = Row(f"seeds {seed} to {seed + tries - 1}", "")
    bounds = []
    for number in range(seed, seed + tries):
        workdir = folder / f"seed{number}"
        outcome = forked(partial(_train, workdir, number), timeout=600.0)
        row.tries += 1
        if outcome.code != 0:
            row.lose(outcome.line)
            continue
        bounds.append(json.loads((workdir / "summary.json").read_text())["test_elbo"])
    row.message = (
        f"test bound on mnist_5k after 2,000 steps: mean {np.mean(bounds):.2f}, standard "
        f"deviation {np.std(bounds, ddof=1):.2f}, from {min(bounds):.2f} to {max(bounds):.2f} nats"
    )
    return [row]


def _train(workdir: Path, seed: int) -> int:
    return command("train", f"--workdir={workdir}", "--dataset=mnist_5k", "--hidden_units=100",
                   "--latent_dim=5", "--steps=2000", f"--seed={seed}", "--noprogress")  # fmt: skip
