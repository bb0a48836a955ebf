"""Modules under the names of version 0.1, which its `.keras` files and programs import.

`tfp_aevb/__init__.py` has this folder in its path: `tfp_aevb.model` is `old_names/model.py`.
"""
