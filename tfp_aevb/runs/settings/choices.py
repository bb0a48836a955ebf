"""The choices that settings have: parts, objectives, methods. Does not import TensorFlow."""

# Where z is, by posterior and by prior; a VampPrior goes with any posterior.
POSTERIORS = {
    **dict.fromkeys(("diagonal", "full", "low_rank", "iaf", "realnvp", "spline"), "real"),
    **{name: name for name in ("unit", "positive", "simplex")},
}
PRIORS = {
    **dict.fromkeys(("standard_normal", "diagonal_normal", "mixture", "flow"), "real"),
    "vamp": None,
    "uniform": "unit",
    "exponential": "positive",
    "log_normal": "positive",
    "dirichlet": "simplex",
}
# Posterior -> the priors to which its KL is known in closed form.
CLOSED_FORM = {
    **dict.fromkeys(("diagonal", "full", "low_rank"), ("standard_normal", "diagonal_normal")),
    "positive": ("exponential", "log_normal"),
}
FLOWS = ("iaf", "realnvp", "spline")
# Likelihood -> the values it gives probability to; `codes` is of --categories.
SUPPORTS = {
    "bernoulli": "binary",
    "continuous_bernoulli": "unit",
    "gaussian": "real",
    "gaussian_sigmoid": "real",
    "student_t": "real",
    "beta": "open_unit",
    "discretized_logistic": "levels",
    "categorical": "codes",
    "poisson": "counts",
    "negative_binomial": "counts",
    "zero_inflated_poisson": "counts",
    "zero_inflated_negative_binomial": "counts",
    "mixed": "table",
}
LIKELIHOODS = tuple(SUPPORTS)
# Those of `tfp_aevb.objectives`, and of its `f_divergence`.
OBJECTIVES = (
    *("sgvb_a", "sgvb_b", "score_function", "stl", "iwae", "dreg", "vimco", "rws", "renyi"),
    "f_divergence",
)
DIVERGENCES = (
    *("arithmetic_geometric", "jeffreys", "jensen_shannon", "kl_forward", "kl_reverse"),
    *("pearson", "squared_hellinger", "total_variation", "triangular"),
)
# Auto-encoding variational Bayes without a part of it: whether z is drawn, and whether there is
# the KL term.
ABLATIONS = {"autoencoder": (False, False), "no_kl": (True, False), "mean_only": (False, True)}
