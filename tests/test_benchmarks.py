import itertools

import numpy as np
import pytest

from benchmarks import data, floor, shifted_digits, table, workers
from benchmarks.peers import common
from tests.helpers import assert_one_line

PAPER = {
    "hidden": 500,
    "latent_dim": 20,
    "dim": 784,
    "batch_size": 100,
    "num_data": 50_000,
    "optimizer": "adam",
}
TINY = {"hidden": 3, "latent_dim": 2, "dim": 5, "batch_size": 4, "num_data": 8, "seed": 0}


def test_made_images_are_binary_and_of_the_density_of_digits():
    images = data.make_images(12_000, 100, seed=1)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 1}
    assert images.mean() == pytest.approx(data.DENSITY, abs=0.01)


def test_made_images_depend_on_the_seed_alone():
    first = data.make_images(50, 30, seed=1)
    np.testing.assert_array_equal(first, data.make_images(50, 30, seed=1))
    assert (first != data.make_images(50, 30, seed=2)).any()


def test_made_images_have_structure_to_learn():
    images = data.make_images(5000, 50).astype(float)
    varied = images[:, images.std(axis=0) > 0.1]
    correlations = np.corrcoef(varied.T)[np.triu_indices(varied.shape[1], 1)]
    assert np.abs(correlations).max() > 0.3


@pytest.mark.parametrize("scale", [1, 255, 1.0])
def test_read_images_cuts_at_the_middle(tmp_path, scale):
    bits = np.array([[[0, 1], [1, 1]], [[0, 0], [1, 0]]])
    np.save(tmp_path / "x.npy", bits * scale)
    np.testing.assert_array_equal(data.read_images(tmp_path / "x.npy"), bits.reshape(2, 4))


def test_read_images_refuses_other_files(tmp_path):
    (tmp_path / "x.npy").write_text("no array")
    assert_one_line(lambda: data.read_images(tmp_path / "x.npy"), ValueError, "--data", ".npy")
    assert_one_line(lambda: data.read_images(tmp_path / "y.npy"), FileNotFoundError, "y.npy")
    np.save(tmp_path / "z.npy", np.zeros(3))
    assert_one_line(lambda: data.read_images(tmp_path / "z.npy"), ValueError, "[N, ...]")


def test_prepare_writes_the_first_images(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(6, dtype=np.uint8))
    path, dim = data.prepare(tmp_path / "out", tmp_path / "x.npy", 4, 784, 0)
    assert dim == 6
    settings = {**TINY, "data": str(path), "num_data": 3}
    np.testing.assert_array_equal(common.load_images(settings), np.eye(6)[:3])
    assert_one_line(
        lambda: data.prepare(tmp_path, tmp_path / "x.npy", 7, 784, 0), ValueError, "--num_data", "6"
    )


def test_an_update_has_eleven_products():
    products = floor.training_products(PAPER)
    assert len(products) == 11
    # 2 * 100 * (3 * 784 * 500 ... ): every layer thrice, but the first has no input gradient.
    layers = [784 * 500, 500 * 40, 20 * 500, 500 * 784]
    assert floor.step_operations(PAPER) == 2 * 100 * (3 * sum(layers) - layers[0])


def test_products_of_samples_are_those_of_the_decoder():
    one = floor.step_operations(PAPER)
    more = floor.step_operations({**PAPER, "train_samples": 4})
    assert more - one == 3 * (2 * 100 * 3 * (20 * 500 + 500 * 784))


def test_parameters_are_counted():
    settings = {**TINY, "optimizer": "adam"}
    assert floor.parameters(settings) == (5 * 3 + 3) + (3 * 4 + 4) + (2 * 3 + 3) + (3 * 5 + 5)
    assert floor.activations(settings) == 4 * (3 + 4 + 3 + 5)


def test_bytes_of_an_update_and_of_training_are_counted():
    adam, adagrad = ({**TINY, "optimizer": name} for name in ("adam", "adagrad"))
    weights, outputs = floor.parameters(adam), floor.activations(adam)
    assert floor.step_bytes(adam) == 4 * (10 * weights + 2 * outputs) + 4 * 5
    assert floor.step_bytes(adagrad) == 4 * (8 * weights + 2 * outputs) + 4 * 5
    assert floor.held_bytes(adam) - floor.held_bytes(adagrad) == 4 * weights
    assert floor.held_bytes(adam) == 4 * (4 * weights + outputs) + 8 * 5


def test_floor_is_the_slower_of_operations_and_bytes():
    operations, traffic = floor.step_operations(PAPER), floor.step_bytes(PAPER)
    assert floor.step_seconds(PAPER, operations / 2.0, traffic / 1.0) == pytest.approx(2.0)
    assert floor.step_seconds(PAPER, operations / 2.0, traffic / 3.0) == pytest.approx(3.0)


def test_evaluation_encodes_once_and_decodes_every_sample():
    encoder, decoder = floor.evaluation_products({**PAPER, "num_samples": 5000})
    assert sum(p.operations for p in encoder) == 2 * (784 * 500 + 500 * 40)
    assert sum(p.operations for p in decoder) == 2 * 5000 * (20 * 500 + 500 * 784)


def test_everyone_starts_from_the_same_glorot_weights():
    weights = common.initial_weights(PAPER | {"seed": 3})
    assert [w.shape for w in weights] == [(784, 500), (500, 40), (20, 500), (500, 784)]
    for kernel in weights:
        limit = np.sqrt(6.0 / sum(kernel.shape))
        assert kernel.dtype == np.float32
        assert np.abs(kernel).max() <= limit * 1.0001
        assert kernel.std() == pytest.approx(limit / np.sqrt(3.0), rel=0.02)
    again = common.flat_weights(PAPER | {"seed": 3})
    np.testing.assert_array_equal(again[::2][1], weights.heads)
    assert [bias.shape for bias in again[1::2]] == [(500,), (40,), (500,), (784,)]
    assert not any(bias.any() for bias in again[1::2])


def test_an_epoch_uses_every_row_once_in_an_order_of_its_own():
    first, second = (common.epoch_rows(TINY, epoch) for epoch in (0, 1))
    assert first.shape == (2, 4)
    assert first.dtype == np.int32
    assert sorted(first.ravel()) == sorted(second.ravel()) == list(range(8))
    assert (first != second).any()
    np.testing.assert_array_equal(first, common.epoch_rows(TINY, 0))


def test_epoch_timer_leaves_the_first_epoch_out(monkeypatch):
    clock = itertools.count(10.0, 2.0)
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(common.time, "time", lambda: 103.5)
    timer = common.EpochTimer({"num_data": 100, "seconds": 3.0, "started": 100.0})
    timer.updated()
    monkeypatch.setattr(common.time, "time", lambda: 200.0)
    assert [timer.epoch_done(bound) for bound in (-9.0, -5.0, -4.0)] == [False, False, True]
    result = timer.result()
    assert result["images_per_second"] == pytest.approx(200 / 4.0)
    assert result["startup_seconds"] == pytest.approx(3.5)
    assert result["bound"] == -5.0


def test_evaluation_is_timed_after_a_first_call(monkeypatch):
    clock, calls = itertools.count(0.0, 1.0), []
    monkeypatch.setattr(common.time, "perf_counter", lambda: next(clock))

    def estimate() -> float:
        calls.append(1)
        return -90.0

    result = common.time_evaluation({"images": 6, "seconds": 2.5, "started": 0.0}, estimate)
    assert result["bound"] == -90.0
    assert len(calls) == 4  # one to warm up, and those begun before 2.5 s
    assert result["images_per_second"] == pytest.approx(3 * 6 / 4.0)


def test_peak_memory_counts_what_was_freed():
    before = common.memory("VmRSS")
    block = np.ones(25_000_000)
    del block
    assert common.memory("VmHWM") >= max(before, 200_000_000)


COLUMNS = (
    table.Column("images_per_second", "images/s"),
    table.Column("bound", "bound", decimals=1, ratio=False),
    table.Column("peak_bytes", "MB", scale=1e6),
)


def record(program: str, speed: float, bound: float | None = -100.0, **more) -> dict:
    return {
        "program": program,
        "round": 0,
        "images_per_second": speed,
        "bound": bound,
        "peak_bytes": 3e6,
        "versions": {"lib": "1.0"},
        **more,
    }


RECORDS = [
    *(record("ours", speed, round=r) for r, speed in enumerate((30.0, 10.0, 20.0))),
    *(record("peer", speed, -104.0, round=r) for r, speed in enumerate((60.0, 5.0, 50.0))),
    record("limit", 40.0, None, remark="by torch"),
    {"program": "flaky", "round": 0, "error": "exit code 1: first"},
    record("flaky", 2.0, round=1),
    {"program": "broken", "round": 0, "error": "does not install: ERROR | no"},
]


def summary() -> dict[str, table.Row]:
    rows = table.summarise(RECORDS, COLUMNS, "ours", bound_tolerance=3.0)
    return {row.name: row for row in rows}


def test_rows_hold_medians_ranges_and_ratios_fastest_first():
    rows = summary()
    assert list(rows) == ["peer", "limit", "ours", "flaky", "broken"]
    assert rows["peer"].spreads["images_per_second"] == (50.0, 5.0, 60.0)
    # 60/30, 5/10 and 50/20; the ratio of the medians is 2.5.
    assert rows["peer"].ratios["images_per_second"] == pytest.approx((2.0, 0.5, 2.5))
    assert rows["flaky"].ratios["images_per_second"] == pytest.approx((0.2, 0.2, 0.2))
    assert "bound" not in rows["limit"].spreads


def test_what_failed_or_did_other_work_is_said():
    rows = summary()
    assert rows["broken"].spreads == {}
    assert "failed: does not install" in rows["broken"].remark
    assert rows["flaky"].remark == "failed in 1 of 2 rounds: exit code 1: first"
    assert rows["peer"].remark == "-4.0 nats from ours"
    assert rows["limit"].remark == "by torch"
    assert rows["ours"].remark == ""


def test_markdown_has_a_line_for_each_program():
    lines = table.to_markdown(list(summary().values()), COLUMNS, "ours").splitlines()
    assert len(lines) == 7
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert (
        "| 50 (5 to 60), 2.00x (0.50 to 2.50) | -104.0 (-104.0 to -104.0) "
        "| 3 (3 to 3), 1.00x (1.00 to 1.00) |"
    ) in lines[2]
    assert "| 20 (10 to 30) |" in lines[4]
    assert lines[6].startswith("| broken | - | - | - |")


def test_csv_holds_plain_numbers():
    lines = table.to_csv(list(summary().values()), COLUMNS).splitlines()
    header, peer = lines[0].split(","), lines[1].split(",")
    values = dict(zip(header, peer, strict=True))
    assert float(values["images_per_second_median"]) == 50.0
    assert float(values["peak_bytes_high"]) == 3e6
    assert float(values["images_per_second_ratio_low"]) == 0.5
    assert values["versions"] == "lib==1.0"


def test_tables_survive_the_failure_of_the_reference():
    rows = table.summarise(
        [{"program": "ours", "round": 0, "error": "no"}, record("peer", 1.0)], COLUMNS, "ours", 3.0
    )
    assert [row.name for row in rows] == ["peer", "ours"]
    assert rows[0].ratios == {}


def test_a_ring_of_workers_sends_the_gradients_nearly_twice():
    assert workers.all_reduce_bytes(1000, 1) == 0.0
    assert workers.all_reduce_bytes(1000, 2) == 4000.0
    assert workers.all_reduce_bytes(1000, 8) == 7000.0
    assert workers.predicted_seconds(0.01, 0.003, 1000, 8, 7e5) == pytest.approx(0.023)


@pytest.mark.compile
def test_the_stream_of_moved_digits_can_be_read_from_anywhere():
    whole = np.concatenate(list(itertools.islice(shifted_digits.digits(0, 0, 1), 3)))
    assert whole.shape == (3000, 28, 28)
    assert whole.dtype == np.uint8
    for start in (1, 999, 1000, 1500):
        part = next(shifted_digits.digits(start, 0, 1))
        np.testing.assert_array_equal(part, whole[start : start + len(part)])


@pytest.mark.parametrize("num_workers", [2, 3])
def test_the_shares_of_moved_digits_are_the_stream_dealt_in_turn(num_workers):
    whole = np.concatenate(list(itertools.islice(shifted_digits.digits(0, 0, 1), 4)))
    for worker in range(num_workers):
        chunks = itertools.islice(shifted_digits.digits(5, worker, num_workers), 3)
        share = np.concatenate(list(chunks))
        expected = whole[worker::num_workers][5:][: len(share)]
        np.testing.assert_array_equal(share, expected)
