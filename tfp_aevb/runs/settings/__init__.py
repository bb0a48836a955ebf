"""The settings of a run; does not import TensorFlow."""
