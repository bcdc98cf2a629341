"""How a check says what is wrong."""

from ..plugins import get_spec

__all__ = ["attempt", "require", "resolve"]


def resolve(kind, thing):
    """Label for messages, factory, and spec (None for a factory that is given directly)."""
    if isinstance(thing, str):
        spec = attempt(f"{kind} {thing!r}", lambda: get_spec(kind, thing))
        factory = attempt(f"{kind} {thing!r}: loading", spec.load)
        require(callable(factory), f"{kind} {thing!r}: {spec.factory} is not callable")
        return f"{kind} {thing!r}", factory, spec
    require(callable(thing), f"{kind}: expected a name or a factory, got {thing!r}")
    return f"{kind} {getattr(thing, '__name__', type(thing).__name__)!r}", thing, None


def attempt(what, action):
    try:
        return action()
    except Exception as error:
        raise AssertionError(f"{what} failed: {type(error).__name__}: {error}") from error


def require(condition, message):
    if not condition:
        raise AssertionError(message)
