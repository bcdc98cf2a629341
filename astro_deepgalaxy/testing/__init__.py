"""Conformance checks for authors of plugins: one call per thing that a plugin offers.

Each check raises AssertionError with a sentence that says what is wrong. They work under any test
runner, and ``astro-deepgalaxy plugins check NAME`` runs them from the command line.
"""

from .backbone import check_backbone
from .command import check_command
from .images import check_reader, check_step
from .index import check_index
from .report import attempt, require
from .training import check_engine, check_task, check_trainer

__all__ = [
    "check_backbone",
    "check_command",
    "check_engine",
    "check_index",
    "check_reader",
    "check_spec",
    "check_step",
    "check_task",
    "check_trainer",
]

_CHECKS = {
    "backbone": check_backbone,
    "command": check_command,
    "engine": check_engine,
    "index": check_index,
    "reader": check_reader,
    "step": check_step,
    "task": check_task,
    "trainer": check_trainer,
}


def check_spec(spec, name=None):
    """Run the check of a spec's kind; where there is none, see that its factory is callable.

    Parameters
    ----------
    spec : Spec
        What a plugin offers.
    name : str, optional
        The qualified name by which the spec is found, where its own name is not enough.

    Returns
    -------
    str
        What could not be checked; empty when all was.

    Raises
    ------
    AssertionError
        If the check fails.
    """
    check = _CHECKS.get(spec.kind)
    factory = attempt(f"{spec.kind} {spec.name!r}: loading", spec.load)
    require(callable(factory), f"{spec.kind} {spec.name!r}: {spec.factory} is not callable")
    if spec.kind == "step":
        try:
            factory()
        except (TypeError, ValueError) as error:
            return f"only loaded, as it needs parameters: {error}"
    if check is None:
        return "only loaded"
    check(name or spec.name)
    return ""
