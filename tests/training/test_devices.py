"""Which strategy a run gets, and who writes it."""

import json

import pytest
import tensorflow as tf

from tests.helpers import assert_one_line
from tfp_aevb.runs.settings.config import RESUMABLE, TrainConfig
from tfp_aevb.training.devices import is_chief, is_multi_worker, make_strategy, mean_over_devices

TWO = {"cluster": {"worker": ["h1:1", "h2:2"]}, "task": {"type": "worker", "index": 0}}


@pytest.mark.parametrize("name", ["auto", "one"])
def test_without_gpus_and_workers_a_run_has_one_device(name: str, monkeypatch) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    strategy = make_strategy(name)
    assert strategy.num_replicas_in_sync == 1
    assert is_chief(strategy)
    assert not is_multi_worker(strategy)
    assert mean_over_devices(strategy, 2.5) == 2.5


@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_a_single_worker_trains_as_one_device(name: str, monkeypatch) -> None:
    cluster = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    strategy = make_strategy(name)
    assert strategy is tf.distribute.get_strategy()
    assert is_chief(strategy)


@pytest.mark.parametrize("text", [None, "", json.dumps({"cluster": {}})])
def test_several_workers_have_to_be_listed(text: str | None, monkeypatch) -> None:
    if text is None:
        monkeypatch.delenv("TF_CONFIG", raising=False)
    else:
        monkeypatch.setenv("TF_CONFIG", text)
    assert_one_line(lambda: make_strategy("multi_worker"), ValueError, "TF_CONFIG", "cluster")


@pytest.mark.parametrize("text", ["no json", "[1]", '{"cluster": 3}'])
@pytest.mark.parametrize("name", ["auto", "multi_worker"])
def test_a_damaged_tf_config_is_refused(name: str, text: str, monkeypatch) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    assert_one_line(lambda: make_strategy(name), ValueError, "TF_CONFIG", text[:5])


@pytest.mark.parametrize(("index", "expected"), [(0, True), (1, False)])
def test_the_first_worker_writes(index: int, expected: bool, monkeypatch) -> None:
    config = {**TWO, "task": {"type": "worker", "index": index}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))

    class Strategy:
        cluster_resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()

    assert is_chief(Strategy()) == expected  # type: ignore[arg-type]


def test_a_run_may_go_on_with_other_devices() -> None:
    assert "strategy" in RESUMABLE
    assert not TrainConfig(strategy="one").differences(TrainConfig(strategy="mirrored"))


@pytest.mark.parametrize("strategy", ["mirrored", "multi_worker"])
def test_monte_carlo_em_keeps_to_one_device(strategy: str) -> None:
    assert_one_line(
        lambda: TrainConfig(method="mcem", strategy=strategy), ValueError, "--strategy=one"
    )
