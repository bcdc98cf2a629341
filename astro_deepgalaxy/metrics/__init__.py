"""How good an answer is."""

from .time_errors import TimeErrors, time_errors

__all__ = ["TimeErrors", "time_errors"]
