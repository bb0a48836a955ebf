"""Numbers that are not finite or not of this world: a finite result, or the step is named."""

import random
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.processes import in_child
from tests.faults.record import Row

STEPS = 12
NAMED = "the bound became NaN or infinite at step S; lower the learning rate, or check ..."


def numbers(tries: int, seed: int, folder: Path) -> list[Row]:
    """All rows, each with so many tries."""
    rows = []
    for fault, message, harness in (
        ("NaN or infinity in a weight", NAMED, partial(_injected, "weight")),
        ("NaN or infinity in an optimiser slot", NAMED, partial(_injected, "slot")),
        ("NaN or infinity in a gradient", NAMED, partial(_injected, "gradient")),
        ("NaN or infinity in the data", "`x` has NaN or infinite values ...", _bad_data),
        ("extreme learning rates", f"finite, or {NAMED}", _learning_rates),
        ("extreme and constant pixels", "finite, or one line", _pixels),
        ("odd sizes (N = 1, M > N, M not dividing N, Nz > D)", "finite", _sizes),
    ):
        row = Row(fault, message)
        row.tries, row.lost, row.remarks = in_child(partial(harness, tries, seed, folder))
        row.wrong = len([remark for remark in row.remarks if remark.startswith("WRONG")])
        rows.append(row)
    return rows


Answer = tuple[int, int, list[str]]


def _injected(where: str, tries: int, seed: int, folder: Path) -> Answer:
    """Poison at a random step while training with each optimiser in turn."""
    import tensorflow as tf
    import tf_keras

    from tests.helpers import binary_data, small_model
    from tfp_aevb.runs.checkpoints import Checkpoints
    from tfp_aevb.training.fused import NonFiniteBoundError

    choose, remarks, lost = random.Random(seed), [], 0
    poison = tf.Variable(0.0, trainable=False)
    bench = []
    for name in ("Adagrad", "Adam", "RMSprop"):
        model = small_model()
        if where == "gradient":
            _poison_gradients(model, poison)
        model.compile(getattr(tf_keras.optimizers, name)(0.01), jit_compile=False,
                      steps_per_execution=1)  # fmt: skip
        variables = [*model.variables, *model.optimizer.variables]
        bench.append((model, variables, [v.numpy() for v in variables]))
    for attempt in range(tries):
        model, variables, start = bench[attempt % len(bench)]
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        poison.assign(0.0)
        at, bad = choose.randint(1, STEPS - 3), choose.choice([np.nan, np.inf, -np.inf])
        checkpoints = Checkpoints(folder / f"{where}{attempt}")

        def inject(batch: int, logs: Any, model=model, at=at, bad=bad, checkpoints=checkpoints):
            if int(model.optimizer.iterations) != at:
                return
            checkpoints._directory.parent.mkdir(exist_ok=True)
            checkpoints.save(model)
            if where == "gradient":
                poison.assign(bad)
                return
            slots = [v for v in model.optimizer.variables if v.shape.rank]
            target = choose.choice(slots if where == "slot" else model.trainable_variables)
            value = target.numpy()
            value.flat[choose.randrange(value.size)] = bad
            target.assign(value)

        callback = tf_keras.callbacks.LambdaCallback(on_train_batch_end=inject)
        x = binary_data(5 * STEPS)
        try:
            model.fit(x, batch_size=5, epochs=1, verbose=0, callbacks=[callback])
            if not all(np.isfinite(v.numpy()).all() for v in model.variables):
                remarks.append(f"WRONG {where} {bad} at {at}: ended with weights not finite")
        except NonFiniteBoundError as error:
            told = int(re.findall(r"at step (\d+)", str(error))[0])
            if not at < told <= at + 2:
                remarks.append(f"WRONG {where} {bad} at {at}: told step {told}")
        try:
            checkpoints.save(model)
            if not all(np.isfinite(v.numpy()).all() for v in variables):
                remarks.append(f"WRONG {where}: a checkpoint that is not finite was saved")
        except NonFiniteBoundError:
            pass
        before = checkpoints.newest_step()
        if (
            before < at
            or checkpoints.restore(model)[0] != before
            or not all(np.isfinite(v.numpy()).all() for v in variables)
        ):
            lost += 1
        shutil.rmtree(checkpoints._directory)
    return tries, lost, remarks


def _poison_gradients(model: Any, poison: Any) -> None:
    clean = model.losses_and_gradients

    def poisoned(batch: Any) -> Any:
        loss, bound, gradients = clean(batch)
        return loss, bound, [gradients[0] + poison, *gradients[1:]]

    model.losses_and_gradients = poisoned


def _expect(
    action: Callable[[], Any], what: str, refusals: tuple[type[Exception], ...]
) -> list[str]:
    """Returns a remark unless `action` gives finite numbers or is refused in one line."""
    try:
        values = action()
    except refusals as error:
        return [f"WRONG {what}: {error!r}"] if "\n" in str(error) else []
    except Exception as error:
        return [f"WRONG {what}: {type(error).__name__} {error}"]
    finite = all(np.isfinite(value).all() for value in values)
    return [] if finite else [f"WRONG {what}: a result that is not finite, without a word"]


def _fitted(model: Any, x: Any, batch_size: int = 5, epochs: int = 2) -> list[np.ndarray]:
    history = model.fit(x, batch_size=batch_size, epochs=epochs, verbose=0).history
    return [np.array(history["elbo"]), *(v.numpy() for v in model.variables)]


def _bad_data(tries: int, seed: int, folder: Path) -> Answer:
    """In an array, and in a batch of a generator."""
    del folder
    from tests.helpers import binary_data, fresh_model
    from tfp_aevb.training.fused import NonFiniteBoundError

    choose, remarks = random.Random(seed), []
    for attempt in range(tries):
        x = binary_data(30)
        x[choose.randrange(30), choose.randrange(6)] = choose.choice([np.nan, np.inf, -np.inf])
        model = fresh_model()
        options = {"x": x, "batch_size": 5} if attempt % 2 else {"x": iter(np.split(x, 6))}
        try:
            model.fit(**options, verbose=0)
            remarks.append("WRONG data: taken without a word")
        except (ValueError, NonFiniteBoundError) as error:
            if "NaN" not in str(error) or "\n" in str(error):
                remarks.append(f"WRONG data: {error}")
    return tries, 0, remarks


def _learning_rates(tries: int, seed: int, folder: Path) -> Answer:
    del folder
    import tf_keras

    from tests.helpers import binary_data, small_model
    from tfp_aevb.training.fused import NonFiniteBoundError

    choose, remarks, bench = random.Random(seed), [], []
    for name in ("Adagrad", "Adam", "RMSprop", "SGD"):
        model = small_model()
        model.compile(getattr(tf_keras.optimizers, name)(0.01), jit_compile=False)
        variables = [*model.variables, *model.optimizer.variables]
        bench.append((name, model, variables, [v.numpy() for v in variables]))
    for attempt in range(tries):
        name, model, variables, start = bench[attempt % len(bench)]
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        rate = 10.0 ** choose.uniform(-44.0, 38.0)
        model.optimizer.learning_rate = rate
        action = partial(_fitted, model, binary_data(30))
        remarks += _expect(action, f"{name} at {rate:.3g}", (NonFiniteBoundError,))
    return tries, 0, remarks


def _pixels(tries: int, seed: int, folder: Path) -> Answer:
    del folder
    from tests.helpers import DATA_DIM, compiled, small_model
    from tfp_aevb import layers
    from tfp_aevb.training.fused import NonFiniteBoundError

    choose, remarks = random.Random(seed), []
    models = [
        compiled(small_model(decoder=decoder))
        for decoder in (
            layers.BernoulliLikelihood(DATA_DIM, (5,)),
            layers.ContinuousBernoulliLikelihood(DATA_DIM, (5,)),
            layers.GaussianLikelihood(DATA_DIM, (5,)),
            layers.GaussianLikelihood(DATA_DIM, (5,), mean="sigmoid", variance="global"),
        )
    ]
    starts = [[v.numpy() for v in (*m.variables, *m.optimizer.variables)] for m in models]
    values = [0.0, 1.0, 0.5, -1.0, 255.0, 1e-38, 1e-45, 1e10, -1e19, 1e30, 3.4e38, 1e300]
    for attempt in range(tries):
        model = models[attempt % len(models)]
        variables = (*model.variables, *model.optimizer.variables)
        for variable, value in zip(variables, starts[attempt % len(models)], strict=True):
            variable.assign(value)
        x = np.full([20, DATA_DIM], choose.choice(values))
        if choose.random() < 0.5:  # else constant
            x[choose.randrange(20), choose.randrange(DATA_DIM)] = choose.choice(values)
        what = f"{type(model.decoder).__name__} of {np.unique(x)}"
        remarks += _expect(partial(_fitted, model, x), what, (ValueError, NonFiniteBoundError))
    return tries, 0, remarks


def _sizes(tries: int, seed: int, folder: Path) -> Answer:
    del folder
    from tests.helpers import binary_data, compiled, small_model
    from tfp_aevb import layers

    choose, remarks = random.Random(seed), []
    wide = compiled(
        small_model(
            layers.StandardNormalPrior(9),
            layers.DiagonalGaussianPosterior(9, (5,)),
            layers.BernoulliLikelihood(6, (5,)),
        )
    )
    narrow = compiled(small_model())
    for attempt in range(tries):
        num_data, batch = choose.choice([1, 1, 2, 3, 7, 23]), choose.choice([1, 2, 5, 7, 50, 1000])
        model = (wide, narrow)[attempt % 2]
        action = partial(_fitted, model, binary_data(num_data), batch)
        remarks += _expect(action, f"N = {num_data}, M = {batch}", ())
    return tries, 0, remarks
