# %% [markdown]
# # A table with gaps
#
# Real, binary, count and categorical columns in one .csv file, cells missing: one likelihood for
# all, in which a missing cell is marginalised. Two tables of scikit-learn: 442 patients with
# diabetes (ten measurements, sex, and how the disease went on) and 178 wines of three cultivars. A
# fifth of the cells is hidden, at random, from the model and from everything it is compared with.

# %%
import csv

import numpy as np
from sklearn.datasets import load_diabetes, load_wine
from sklearn.impute import KNNImputer

from tfp_aevb.commands.main import main
from tfp_aevb.data.tables import read_table

# %%
diabetes, wine = load_diabetes(scaled=False), load_wine()
people = [
    [f"{age:g}", ("woman", "man")[int(sex) - 1], *(f"{v:g}" for v in rest), f"{y:g}"]
    for (age, sex, *rest), y in zip(diabetes.data, diabetes.target, strict=True)
]
wines = [
    [str(wine.target_names[y]), *(f"{v:g}" for v in x)]
    for x, y in zip(wine.data, wine.target, strict=True)
]
TABLES = {
    "diabetes": ([*diabetes.feature_names, "progression"], people),
    "wine": (["cultivar", *wine.feature_names], wines),
}


def write(path, names, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([names, *rows])


hidden = {}
for table, (names, rows) in TABLES.items():
    hidden[table] = np.random.default_rng(0).random([len(rows), len(names)]) < 0.2
    pairs = [zip(row, mask, strict=True) for row, mask in zip(rows, hidden[table], strict=True)]
    write(f"{table}.csv", names, [["" if gone else cell for cell, gone in row] for row in pairs])
    write(f"{table}_whole.csv", names, rows)

# %% [markdown]
# Fit, score and complete from the command line; `main` is `python -m tfp_aevb`. A column's kind is
# inferred, or stated with `--columns`: blood values are measurements, many of them whole numbers.

# %%
STATED = {"diabetes": ["--columns=s1:real,s2:real,s3:real,s4:real,s6:real"], "wine": []}
for table in TABLES:
    workdir = f"--workdir=runs/{table}"
    network = ["--latent_dim=4", "--hidden_units=50", "--init=glorot", "--output_bias=data"]
    training = ["--optimizer=adam", "--learning_rate=0.003", "--ema_momentum=0.99"]
    length = ["--steps=3000", "--noprogress", "--notensorboard_images"]
    data = [f"--dataset={table}.csv", "--likelihood=mixed", *STATED[table]]
    assert main(["train", workdir, *data, *network, *training, *length]) == 0
    scores = ["--estimator=elbo,importance", "--num_samples=500", f"--output={table}_scores.csv"]
    assert main(["evaluate", workdir, *scores]) == 0
    sampling = ["--method=importance", "--num_samples=1000", "--burn_in=20", "--draws=5"]
    files = [f"--input={table}.csv", f"--output={table}_completed.csv"]
    assert main(["impute", workdir, *files, *sampling]) == 0

# %% [markdown]
# `diabetes_completed.csv` has the gaps filled with means and most probable categories,
# `diabetes_completed_cells.csv` a line for each gap: standard deviation or probability, and draws.

# %%
with open("diabetes_completed_cells.csv") as file:
    print("".join(next(file) for _ in range(4)))


# %% [markdown]
# How good are they? Numbers: root mean square error in standard deviations of the column.
# Categories: share of right ones. Beside: the column's mean or most frequent category, and
# scikit-learn's nearest neighbours, on standardised numbers and 0s and 1s for categories.


# %%
def one_hot(x, columns):
    """Standardised numbers, and a column for each category; NaN stays."""
    parts = []
    for column, values in zip(columns, x.T, strict=True):
        if column.categories:
            hot = values[:, None] == np.arange(len(column.categories))
            parts.append(np.where(np.isnan(values)[:, None], np.nan, hot))
        else:
            parts.append(((values - np.nanmean(values)) / np.nanstd(values))[:, None])
    return parts


def restored(parts, columns, gaps):
    """Codes and numbers again, of what `one_hot` made."""
    x = []
    for column, part, values in zip(columns, parts, gaps.T, strict=True):
        if column.categories:
            x.append(part.argmax(axis=1))
        else:
            x.append(part[:, 0] * np.nanstd(values) + np.nanmean(values))
    return np.stack(x, axis=1)


def errors(found, truth, columns, where):
    """Mean over columns of the error of numbers, and of the share of right categories."""
    numbers, right = [], []
    for d, column in enumerate(columns):
        difference = (found - truth)[where[:, d], d]
        if column.categories:
            right.append(np.mean(difference == 0))
        else:
            numbers.append(np.sqrt(np.mean(difference**2)) / truth[:, d].std())
    return float(np.mean(numbers)), float(np.mean(right))


# %%
results = {}
for table in TABLES:
    kinds = (STATED[table] or [""])[0].removeprefix("--columns=")
    columns, gaps = read_table(f"{table}.csv", kinds)
    truth = read_table(f"{table}_whole.csv", columns=columns).x
    parts = one_hot(gaps, columns)
    sizes = np.cumsum([part.shape[1] for part in parts])[:-1]
    neighbours = np.split(KNNImputer().fit_transform(np.concatenate(parts, axis=1)), sizes, axis=1)
    means = [np.broadcast_to(np.nanmean(part, axis=0), part.shape) for part in parts]
    found = {
        "model": read_table(f"{table}_completed.csv", columns=columns).x,
        "5 nearest neighbours": restored(neighbours, columns, gaps),
        "column means": restored(means, columns, gaps),
    }
    for name, x in found.items():
        results[table, name] = errors(x, truth, columns, hidden[table])
        error, right = results[table, name]
        print(f"{table:<10}{name:<22}error of numbers {error:.3f}   right categories {right:.3f}")
