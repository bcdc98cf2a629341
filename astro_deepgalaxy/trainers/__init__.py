"""Who runs a training job."""

from .job import TrainingJob, TrainingResult

__all__ = ["TrainingJob", "TrainingResult"]
