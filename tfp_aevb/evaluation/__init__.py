"""What a trained model is worth: estimates of log p(x) beside the bound."""

from tfp_aevb.evaluation.importance import ImportanceEstimate, importance_log_prob

__all__ = ["ImportanceEstimate", "importance_log_prob"]
