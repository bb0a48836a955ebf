"""The command line: one module for each verb. Does not import TensorFlow before a verb runs."""
