"""Reports: how well a catalogue agrees with known labels."""

from .report import write_report
from .scorecard import Scorecard, scorecard

__all__ = ["Scorecard", "scorecard", "write_report"]
