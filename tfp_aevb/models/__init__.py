"""The models: what is fitted, by which algorithm."""
