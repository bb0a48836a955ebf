"""Frey Face as a TensorFlow Datasets builder."""
