"""A run in one self-contained web page: `build_report`."""

from tfp_aevb.runs.report.build import build_report

__all__ = ["build_report"]
