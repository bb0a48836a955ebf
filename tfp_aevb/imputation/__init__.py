"""Draws from p(x|y): missing, noisy or coarse datapoints restored by a fitted model."""

from tfp_aevb.imputation.channels import Channel, bit_flips, block_means, gaussian_noise
from tfp_aevb.imputation.evidence import is_binary
from tfp_aevb.imputation.sampling import METHODS, Imputation, impute
from tfp_aevb.imputation.tasks import TASKS, Damaged, damage, spread, task_channel

__all__ = [
    "METHODS",
    "TASKS",
    "Channel",
    "Damaged",
    "Imputation",
    "bit_flips",
    "block_means",
    "damage",
    "gaussian_noise",
    "impute",
    "is_binary",
    "spread",
    "task_channel",
]
