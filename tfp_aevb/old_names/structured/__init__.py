"""See `tfp_aevb.models.joint.model`."""

from tfp_aevb.models.joint.model import JointAEVB

__all__ = ["JointAEVB"]
