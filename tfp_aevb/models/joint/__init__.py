"""Models whose latents are several, nested and dependent, given as TFP joint distributions."""

from tfp_aevb.models.joint.model import JointAEVB

__all__ = ["JointAEVB"]
