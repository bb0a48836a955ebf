"""Data sets as NumPy arrays: real images by name, and the user's own arrays.

`load_dataset` is the one way in. Nothing here imports TensorFlow until a set is read
through TensorFlow Datasets.
"""

from tfp_aevb.data.binarize import binarize_pixels
from tfp_aevb.data.dataset import Dataset, load_dataset
from tfp_aevb.data.splits import Split
from tfp_aevb.data.stream import Stream

__all__ = ["Dataset", "Split", "Stream", "binarize_pixels", "load_dataset"]
