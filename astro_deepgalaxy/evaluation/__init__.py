"""Reports: how well a model or a catalogue agrees with known labels."""

from .evaluation import Evaluation, evaluate
from .report import write_evaluation
from .scorecard import Scorecard, scorecard

__all__ = ["Evaluation", "Scorecard", "evaluate", "scorecard", "write_evaluation"]
