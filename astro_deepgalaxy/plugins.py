"""Discovery and lookup of plugins: one that fails never takes the package down with it."""

import difflib
import os
import warnings
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import distributions

import pluggy

from . import builtin, hookspecs
from .specs import (
    BackboneSpec,
    CommandSpec,
    EngineSpec,
    IndexSpec,
    ReaderSpec,
    Spec,
    StepSpec,
    TaskSpec,
    TrainerSpec,
)

__all__ = [
    "HOOKS",
    "KINDS",
    "PluginStatus",
    "PluginWarning",  # noqa: F822 (made when it is asked for)
    "get_spec",
    "list_specs",
    "plugin_statuses",
    "provider",
    "reload_plugins",
]

GROUP = "astro_deepgalaxy"
BUILTIN = "astro-deepgalaxy"

HOOKS = {
    "register_backbones": BackboneSpec,
    "register_tasks": TaskSpec,
    "register_trainers": TrainerSpec,
    "register_engines": EngineSpec,
    "register_indexes": IndexSpec,
    "register_readers": ReaderSpec,
    "register_steps": StepSpec,
    "register_commands": CommandSpec,
}
"""The hooks, and what each of them offers."""

KINDS = tuple(spec_type.kind for spec_type in HOOKS.values())
"""The kinds of things that plugins offer."""


@dataclass(frozen=True)
class PluginStatus:
    """What became of one entry point.

    Attributes
    ----------
    dist, version : str
        The distribution it belongs to.
    entry : str
        Name of the entry point.
    state : {"active", "partial", "failed", "blocked"}
        Whether all, some or none of it counts; ``blocked`` by the allow-list.
    hooks : tuple of str
        Hooks that it implements.
    specs : tuple of Spec
        What it offers.
    error : str
        What went wrong, a sentence for each thing; empty when nothing did.
    note : str
        What to know about its names: those that others claim too.
    """

    dist: str
    version: str
    entry: str
    state: str
    hooks: tuple[str, ...] = ()
    specs: tuple[Spec, ...] = ()
    error: str = ""
    note: str = ""

    def qualified(self, spec):
        """Name that always finds a spec of this plugin.

        Parameters
        ----------
        spec : Spec
            One of `specs`.

        Returns
        -------
        str
            ``distribution/name``.
        """
        return f"{self.dist}/{spec.name}"


def list_specs(kind, pattern=None):
    """What is on offer, the package's own first.

    Parameters
    ----------
    kind : str
        ``backbone``, ``task``, ``trainer``, ``engine``, ``index``, ``reader``, ``step`` or
        ``command``.
    pattern : str, optional
        Shell pattern for the short name, such as ``"*resnet*"``.

    Returns
    -------
    list of Spec
    """
    return [
        spec
        for _, spec in _offers(kind)
        if pattern is None or fnmatch(_normal(spec.name), _normal(pattern))
    ]


def get_spec(kind, name):
    """Look a name up.

    Parameters
    ----------
    kind : str
        As for `list_specs`.
    name : str
        Short name, or ``distribution/name``; capitals, ``-`` and ``_`` make no difference.

    Returns
    -------
    Spec

    Raises
    ------
    ValueError
        If the name is unknown, or several distributions offer it; the choices are listed.
    """
    return _find(kind, name)[1]


def provider(kind, name):
    """Who offers a name, for the record in models and catalogues.

    Parameters
    ----------
    kind, name : str
        As for `get_spec`.

    Returns
    -------
    dict
        ``name`` (qualified by the distribution) and ``version``.
    """
    status, spec = _find(kind, name)
    return {"name": status.qualified(spec), "version": status.version}


def plugin_statuses():
    """What became of every entry point, the package's own first.

    Returns
    -------
    list of PluginStatus
    """
    return list(_discover())


def reload_plugins():
    """Forget what was discovered; the next look-up discovers anew."""
    _discover.cache_clear()


def __getattr__(name):
    if name == "PluginWarning":
        return _warning_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _warning_class():
    # astropy is slow to import, and only needed when something is wrong.
    from astropy.utils.exceptions import AstropyUserWarning

    doc = {"__doc__": "A plugin, or part of it, cannot be used.", "__module__": __name__}
    return type("PluginWarning", (AstropyUserWarning,), doc)


def _offers(kind):
    if kind not in KINDS:
        raise ValueError(f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
    return [(status, spec) for status in _discover() for spec in status.specs if spec.kind == kind]


def _find(kind, name):
    offers = _offers(kind)
    wanted = _normal(name)
    found = [
        (status, spec)
        for status, spec in offers
        if wanted in (_normal(spec.name), _normal(status.qualified(spec)))
    ]
    # The package's own short names are reserved: a plugin's are then reached by the full name.
    found = [offer for offer in found if offer[0].dist == BUILTIN] or found
    if len(found) == 1:
        return found[0]
    if found:
        choices = ", ".join(status.qualified(spec) for status, spec in found)
        raise ValueError(
            f"{kind} {name!r} is offered by more than one plugin; choose one of: {choices}"
        )
    known = {_normal(spec.name): spec.name for _, spec in offers}
    known |= {_normal(s.qualified(spec)): s.qualified(spec) for s, spec in offers if "/" in wanted}
    near = difflib.get_close_matches(wanted, known, n=1)
    hint = f"did you mean {known[near[0]]!r}? " if near else ""
    names = ", ".join(sorted(known.values())) or "none: install a plugin that offers one"
    raise ValueError(f"unknown {kind} {name!r}; {hint}known are: {names}")


def _normal(name):
    return str(name).strip().lower().replace("-", "_")


@cache
def _discover():
    """The status of every plugin; what fails is caught, kept and warned about."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    own = next(iter(distributions(name=BUILTIN)), None)
    version = "unknown" if own is None else own.version
    statuses = [_ask(manager, builtin, PluginStatus(BUILTIN, version, "builtin", "active"))]
    allowed = os.environ.get("ASTRO_DEEPGALAXY_PLUGINS")
    if allowed is not None:
        allowed = {_normal(name) for name in allowed.split(",")}
    for dist, version, entry in _entry_points():
        status = PluginStatus(dist, version, entry.name, "active")
        if allowed is not None and _normal(dist) not in allowed:
            error = "not in the allow-list ASTRO_DEEPGALAXY_PLUGINS"
            statuses.append(replace(status, state="blocked", error=error))
            continue
        try:
            status = _ask(manager, entry.load(), status)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin that calls sys.exit() must not end the program
            status = replace(status, state="failed", error=f"cannot be loaded: {_words(error)}")
        statuses.append(status)
    statuses = _with_conflicts(_without_repeats(statuses))
    for status in statuses:
        if status.state in ("partial", "failed"):
            text = f"plugin {status.dist}:{status.entry} is {status.state}: {status.error}"
            warnings.warn(text, _warning_class(), stacklevel=2)
    return tuple(statuses)


def _entry_points():
    """(distribution, version, entry point) of the group, in an order that does not change."""
    found = {}
    for dist in distributions():
        try:
            for entry in dist.entry_points:
                if entry.group == GROUP:
                    # The first of a name on the path is the one that is imported.
                    name = dist.metadata["Name"] or "unknown"
                    found.setdefault((name, entry.name), (dist.version, entry))
        except Exception:  # damaged metadata of a package that may have nothing to do with us
            continue
    for (dist, _), (version, entry) in sorted(found.items(), key=lambda item: item[0]):
        yield dist, version, entry


def _ask(manager, plugin, status):
    """Register one plugin and call each of its hooks, one failure at a time."""
    manager.register(plugin, name=f"{status.dist}:{status.entry}")
    errors = list(_strays(plugin))
    hooks, offered = [], []
    for hook, spec_type in HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is not plugin:
                continue
            hooks.append(hook)
            try:
                made = list(implementation.function())
                wrong = [item for item in made if not isinstance(item, spec_type)]
                if wrong:
                    raise TypeError(f"it offers {wrong[0]!r}, which is no {spec_type.__name__}")
                offered += made
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                errors.append(f"{hook} failed: {_words(error)}")
    if not hooks and not errors:
        errors.append(f"it implements no hook; known are {', '.join(HOOKS)}")
    state = "active" if not errors else "partial" if offered else "failed"
    return replace(
        status, state=state, hooks=tuple(hooks), specs=tuple(offered), error="; ".join(errors)
    )


def _strays(plugin):
    """A sentence for each function that looks like a hook but will never be called."""
    own = getattr(plugin, "__name__", type(plugin).__module__)
    for name in dir(plugin):
        function = getattr(plugin, name, None)
        if not callable(function):
            continue
        marked = hasattr(function, f"{GROUP}_impl")
        if marked and name not in HOOKS:
            near = difflib.get_close_matches(name, HOOKS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(HOOKS)}"
            yield f"there is no hook {name}: {hint}"
        elif (
            not marked
            and name.startswith("register_")
            and getattr(function, "__module__", None) == own
        ):
            yield f"{name} is not marked with @astro_deepgalaxy.hookimpl, so it is never called"


def _without_repeats(statuses):
    """The statuses, where a name that a distribution offers twice counts once."""
    seen = set()
    for status in statuses:
        kept, errors = [], [status.error] if status.error else []
        for spec in status.specs:
            key = (spec.kind, _normal(status.qualified(spec)))
            if key in seen:
                errors.append(f"offers the {spec.kind} {spec.name!r} twice; the first one counts")
            else:
                seen.add(key)
                kept.append(spec)
        if len(kept) < len(status.specs):
            state = "partial" if kept else "failed"
            status = replace(status, state=state, specs=tuple(kept), error="; ".join(errors))
        yield status


def _with_conflicts(statuses):
    """The statuses, with a note on every short name that is claimed more than once."""
    statuses = list(statuses)
    claims = {}
    for status in statuses:
        for spec in status.specs:
            claims.setdefault((spec.kind, _normal(spec.name)), []).append(status.dist)
    for i, status in enumerate(statuses):
        notes = []
        for spec in status.specs:
            others = [d for d in claims[spec.kind, _normal(spec.name)] if d != status.dist]
            if others and status.dist != BUILTIN:
                notes.append(
                    f"the {spec.kind} name {spec.name!r} is also claimed by {', '.join(others)}: "
                    f"use {status.qualified(spec)!r}"
                )
        statuses[i] = replace(status, note="; ".join(notes))
    return statuses


def _words(error):
    lines = str(error).strip().splitlines()
    return ": ".join([type(error).__name__, *lines[:1]])
