"""The part of a report that decodes by itself, in a browser."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tensorflow_probability import distributions as tfd

from tests.integration.browser import evaluate
from tfp_aevb import AEVB, layers
from tfp_aevb.runs.report import page
from tfp_aevb.runs.report.explorer import explorer_record
from tfp_aevb.utils.seeds import as_seed

SHAPE = (3, 4)
DECODERS = {
    "bernoulli tanh": lambda: layers.BernoulliLikelihood(12, (7,), init_stddev=0.7),
    "bernoulli relu": lambda: layers.BernoulliLikelihood(
        12, (7, 5), activation="relu", init_stddev=0.7
    ),
    "continuous bernoulli": lambda: layers.ContinuousBernoulliLikelihood(
        12, (7,), activation="softplus", init_stddev=0.7
    ),
    "gaussian": lambda: layers.GaussianLikelihood(12, (7,), activation="elu", init_stddev=0.4),
    "gaussian sigmoid": lambda: layers.GaussianLikelihood(
        12, (), mean="sigmoid", variance="scalar", init_stddev=0.7
    ),
}


def model_of(decoder: str = "bernoulli tanh", latent_dim: int = 2, prior: Any = None) -> AEVB:
    tf_keras.utils.set_random_seed(3)
    return AEVB(
        prior or layers.StandardNormalPrior(latent_dim),
        layers.DiagonalGaussianPosterior(latent_dim, (5,)),
        LIKELIHOODS[decoder](),
        objective="sgvb_a",
    )


def write_page(
    model: AEVB, folder: Path, labels: np.ndarray | None = None, codes: np.ndarray | None = None
) -> Path:
    if codes is None:
        codes = np.random.default_rng(0).normal(size=[50, model.latent_dim])
    record = explorer_record(model, codes, labels, SHAPE, seed=0)
    assert record is not None
    target = folder / "page.html"
    target.write_text(page.render("A page", [page.explorer(record)]))
    return target


# Reads the picture's red channel as numbers from 0 to 255.
PIXELS = """
const picture = document.querySelector("#explorer .image");
const pixels = () => Array.from(picture.getContext("2d")
  .getImageData(0, 0, picture.width, picture.height).data).filter((_, i) => i % 4 === 0);
"""
MOVE = """
const plane = document.querySelector("#explorer .plane"), box = plane.getBoundingClientRect();
plane.dispatchEvent(new PointerEvent("pointermove",
  { clientX: box.left + 0.75 * box.width, clientY: box.top + 0.25 * box.height }));
"""


def shown(model: AEVB, z: list[float]) -> np.ndarray:
    """What the picture should show of a latent."""
    mean = model.decode(tf.constant([z], tf.float32)).mean().numpy()[0]
    return 255.0 * np.clip(mean, 0.0, 1.0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_page_decodes_as_the_model(decoder: str, tmp_path: Path) -> None:
    model = model_of(decoder)
    found = evaluate(
        write_page(model, tmp_path),
        f"{PIXELS} const start = pixels(); {MOVE} return [start, pixels()];",
    )
    assert found["errors"] == []
    for pixels, z in zip(found["value"], ([0.0, 0.0], [1.5, 1.5]), strict=True):
        np.testing.assert_allclose(pixels, shown(model, z), atol=1.0)
    assert np.ptp(found["value"][1]) > 10  # something to see
    assert np.abs(np.subtract(*found["value"])).max() > 10


def test_more_latents_have_sliders(tmp_path: Path) -> None:
    model = model_of(latent_dim=14)
    script = f"""{PIXELS}
const sliders = document.querySelectorAll("#explorer input");
const before = pixels();
sliders[1].value = 2; sliders[1].dispatchEvent(new Event("input"));
const names = Array.from(document.querySelectorAll("label span:first-child"), (s) => s.textContent);
return [names, before, pixels()];"""
    found = evaluate(write_page(model, tmp_path), script)
    names, before, after = found["value"]
    assert found["errors"] == []
    assert len(names) == 12  # those that vary most
    z = np.zeros(14)
    z[int(names[1][1:]) - 1] = 2.0
    np.testing.assert_allclose(before, shown(model, [0.0] * 14), atol=1.0)
    np.testing.assert_allclose(after, shown(model, list(z)), atol=1.0)


def test_buttons_go_to_draws_data_and_back(tmp_path: Path) -> None:
    script = f"""{PIXELS}
const seen = [pixels()];
document.querySelectorAll("#explorer button").forEach((b) => {{ b.click(); seen.push(pixels()); }});
return seen;"""
    found = evaluate(write_page(model_of(), tmp_path, np.arange(50) % 10), script)
    start, drawn, data, back = found["value"]
    assert found["errors"] == []
    assert start == back
    assert start != drawn != data != start


LIKELIHOODS = {
    **DECODERS,
    "student t": lambda: layers.StudentTLikelihood(12, (7,), init_stddev=0.7),
    "beta": lambda: layers.BetaLikelihood(12, (7,)),
    "discretized logistic": lambda: layers.DiscretizedLogisticLikelihood(12, 2, (7,)),
    "categorical": lambda: layers.CategoricalLikelihood(12, 4, (7,)),
    "poisson": lambda: layers.PoissonLikelihood(12, (7,)),
    "negative binomial": lambda: layers.NegativeBinomialLikelihood(12, (7,)),
    "zero-inflated poisson": lambda: layers.ZeroInflatedPoissonLikelihood(12, (7,)),
    "zero-inflated negative binomial": lambda: layers.ZeroInflatedNegativeBinomialLikelihood(
        12, (7,)
    ),
}
ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda v: np.maximum(v, 0.0),
    "elu": lambda v: np.where(v > 0.0, v, np.expm1(v)),
    "softplus": lambda v: np.logaddexp(v, 0.0),
}


def sigmoid(v: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-v))


MEANS = {
    "linear": lambda v: v,
    "sigmoid": sigmoid,
    "continuous_bernoulli": lambda v: sigmoid(v) / (2.0 * sigmoid(v) - 1.0) - 1.0 / v,
}


def decoded(record: dict[str, Any], z: np.ndarray) -> np.ndarray:
    """What explorer.js makes of latents."""
    outputs = z
    for i, layer in enumerate(record["layers"]):
        kernel, bias = (
            np.frombuffer(base64.b64decode(layer[name]), "<f2").astype(float)
            for name in ("kernel", "bias")
        )
        inputs = outputs if i == 0 else ACTIVATIONS[record["activation"]](outputs)
        outputs = inputs @ kernel.reshape(layer["inputs"], -1) + bias
    return MEANS[record["mean"]](outputs)


@pytest.mark.run(but_first=True)
@pytest.mark.parametrize("decoder", LIKELIHOODS)
def test_a_page_decodes_the_mean_or_does_not_decode(decoder: str) -> None:
    model = model_of(decoder)
    z = np.array([[1.5, -2.0], [0.3, 0.7]], np.float32)
    mean = model.decode(z).mean().numpy()
    record = explorer_record(model, np.zeros([5, 2]), None, SHAPE, seed=0)
    assert (record is not None) == (decoder in DECODERS or decoder == "student t")
    if record:
        np.testing.assert_allclose(decoded(record, z), mean, atol=0.004 * max(1.0, mean.max()))


def test_latents_range_over_standard_deviations_about_the_prior_s_mean() -> None:
    loc, scale = np.array([10.0, -1.0], np.float32), np.array([2.0, 0.1], np.float32)
    model = model_of(prior=tfd.MultivariateNormalDiag(loc, scale))
    codes = np.random.default_rng(0).normal(loc, scale, [1000, 2])
    codes[:20, 1] = -1.0 - 0.1 * 4.5  # in 1% of all numbers
    record = explorer_record(model, codes, None, SHAPE, seed=0)
    assert record is not None
    assert record["start"] == loc.tolist()
    np.testing.assert_allclose(record["low"], loc - 5.0 * scale, rtol=1e-6)
    np.testing.assert_allclose(record["high"], loc + 5.0 * scale, rtol=1e-6)


def test_a_page_moves_over_the_range_of_the_prior(tmp_path: Path) -> None:
    loc, scale = np.array([0.6, -1.0], np.float32), np.array([0.5, 0.1], np.float32)
    model = model_of(prior=tfd.MultivariateNormalDiag(loc, scale))
    target = write_page(model, tmp_path, codes=loc + scale * np.zeros([5, 2]))
    found = evaluate(target, f"{PIXELS} const start = pixels(); {MOVE} return [start, pixels()];")
    assert found["errors"] == []
    for pixels, z in zip(found["value"], (loc, loc + 1.5 * scale), strict=True):
        np.testing.assert_allclose(pixels, shown(model, list(z)), atol=1.0)


@pytest.mark.parametrize("prior", ["mixture", "flow", "hierarchy"])
def test_latents_range_over_draws_from_other_priors(prior: str) -> None:
    priors = {
        "mixture": lambda: layers.GaussianMixturePrior(2, 3),
        "flow": lambda: layers.FlowPrior(2, flow_units=(4,)),
        "hierarchy": lambda: layers.HierarchicalPrior((1, 1), (4,)),
    }
    model = model_of(prior=priors[prior]())
    draws = np.asarray(model.prior_distribution().sample(200, seed=as_seed(0)))
    record = explorer_record(model, draws.mean(axis=0)[np.newaxis], None, SHAPE, seed=0)
    assert record is not None
    np.testing.assert_allclose(record["start"], draws.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        record["high"], draws.mean(axis=0) + 3.0 * draws.std(axis=0), rtol=1e-5
    )


def test_a_prior_that_is_not_over_all_reals_has_no_explorer() -> None:
    model = model_of(prior=tfd.Independent(tfd.Uniform([0.0, 0.0], [1.0, 1.0]), 1))
    assert explorer_record(model, np.full([5, 2], 0.5), None, SHAPE, seed=0) is None


def test_decoders_of_ones_own_have_no_explorer() -> None:
    model = model_of()
    codes = np.zeros([5, 2])
    assert explorer_record(model, codes, None, (), seed=0) is None
    model.decoder = tf_keras.layers.Dense(12)
    assert explorer_record(model, codes, None, SHAPE, seed=0) is None


def test_text_cannot_become_markup(tmp_path: Path) -> None:
    evil = "</pre><script>console.error('run')</script>"
    parts = [page.paragraph(evil), page.bullets([evil]), page.preformatted(evil)]
    parts += [page.table([evil], [[evil]]), page.section(evil)]
    target = tmp_path / "page.html"
    target.write_text(page.render(evil, parts))
    found = evaluate(target, "return document.body.innerText.split('run').length - 1;")
    assert found == {"value": 7, "errors": []}
