"""TFP's wrappers of distributions, as classes to ask `isinstance` of.

`tfd.Independent(d, 1)` is no `tfd.Independent` where `d` is no composite tensor, as what a
distribution layer returns and distributions that users write are not. Their common base is meant.
"""

from typing import Any

from tensorflow_probability import distributions as tfd

Independent: Any = tfd.Independent.__mro__[1]
Sample: Any = tfd.Sample.__mro__[1]
BatchBroadcast: Any = tfd.BatchBroadcast.__mro__[1]
TransformedDistribution: Any = tfd.TransformedDistribution.__mro__[1]


def bare(distribution: tfd.Distribution) -> tfd.Distribution:
    """Returns the distribution that a distribution layer wraps to let it stand for a tensor."""
    return getattr(distribution, "tensor_distribution", distribution)
