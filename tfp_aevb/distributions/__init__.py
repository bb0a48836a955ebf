"""Distributions of TFP's kind that TFP has not, and row-keyed noise."""
