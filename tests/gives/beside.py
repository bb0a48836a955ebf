"""What a user gives to `EarlyStopping` and to scikit-learn's face."""

from typing import Any

import tfp_aevb
from tests.gives.data import X
from tests.gives.models import SGD, decoder, encoder
from tests.gives.table import Table, eagerly
from tfp_aevb import AEVB, layers
from tfp_aevb.sklearn import AEVBTransformer


def stopped(**options: Any) -> Any:
    made = tfp_aevb.EarlyStopping(**options)
    model = AEVB(layers.StandardNormalPrior(2), encoder(), decoder())
    model.compile(SGD(0.0), run_eagerly=True)
    return len(model.fit(X, epochs=5, validation_data=X, callbacks=[made], verbose=0).epoch)


stopping = Table("EarlyStopping", tfp_aevb.EarlyStopping, stopped)
stopping.differs("patience", "1, or 2", {"patience": 1}, {"patience": 2})
stopping.refuses("patience", "0", {"patience": 0}, "`patience` must be at least 1")
stopping.refuses(
    "monitor", "what is not reported", {"monitor": "accuracy"}, "EarlyStopping(monitor"
)
stopping.refuses("mode", "'min' of a bound", {"mode": "min"}, "EarlyStopping(monitor")
stopping.differs(
    "kwargs", "`start_from_epoch=3`", {"patience": 1, "start_from_epoch": 3}, {"patience": 1}
)
stopping.refuses(
    "kwargs", "`colour=3`", {"colour": 3}, "EarlyStopping.__init__() got an unexpected"
)


def transformed(**options: Any) -> Any:
    plain = {
        "max_epochs": 1,
        "hidden_units": (3,),
        "batch_size": 20,
        "n_importance_samples": 2,
        "random_state": 0,
        "likelihood": "bernoulli",
    }
    with eagerly():
        made = AEVBTransformer(**{**plain, **options}).fit(X)
        return made.transform(X), made.score_samples(X[:2])


transformer = Table("AEVBTransformer", AEVBTransformer, transformed)
for name, value in {
    "n_components": 3,
    "hidden_units": (4,),
    "activation": "relu",
    "likelihood": "gaussian",
    "learning_rate": 0.1,
    "batch_size": 10,
    "max_epochs": 2,
    "n_importance_samples": 3,
    "random_state": 1,
}.items():
    transformer.differs(name, f"{value!r}", {name: value})
transformer.refuses("likelihood", "'cauchy'", {"likelihood": "cauchy"}, "likelihood must be one of")
for name in ("n_components", "batch_size", "max_epochs", "n_importance_samples"):
    transformer.refuses(name, "0", {name: 0}, f"{name} must be")
transformer.refuses("learning_rate", "0", {"learning_rate": 0.0}, "learning_rate must be")
