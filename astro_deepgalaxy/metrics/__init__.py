"""How good an answer is."""

from .binned_errors import ErrorBin, error_bins
from .bootstrap import bootstrap_range
from .classes import ClassAccuracy, class_accuracy
from .conformal import Conformal, groups_needed
from .coverage import Coverage, QuantileCalibration, interval_coverage, quantile_calibration
from .detection import Detection, detection
from .ranking import RankCorrelation, rank_correlation
from .time_errors import TimeErrors, time_errors

__all__ = [
    "ClassAccuracy",
    "Conformal",
    "Coverage",
    "Detection",
    "ErrorBin",
    "QuantileCalibration",
    "RankCorrelation",
    "TimeErrors",
    "bootstrap_range",
    "class_accuracy",
    "detection",
    "error_bins",
    "groups_needed",
    "interval_coverage",
    "quantile_calibration",
    "rank_correlation",
    "time_errors",
]
