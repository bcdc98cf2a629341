"""Discovery and lookup of plugins: one that fails never takes the package down with it."""

import difflib
import importlib.util
import os
import warnings
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import distributions

import pluggy

from . import builtin, hookspecs, specs

__all__ = [
    "PluginStatus",
    "get_spec",
    "list_specs",
    "plugin_statuses",
    "provider",
    "reload_plugins",
]

GROUP = "astro_deepgalaxy"
BUILTIN = "astro-deepgalaxy"
_HOOKS = {
    "register_backbones": specs.BackboneSpec,
    "register_tasks": specs.TaskSpec,
    "register_trainers": specs.TrainerSpec,
    "register_engines": specs.EngineSpec,
    "register_indexes": specs.IndexSpec,
    "register_readers": specs.ReaderSpec,
    "register_steps": specs.StepSpec,
    "register_commands": specs.CommandSpec,
}
KINDS = tuple(spec.kind for spec in _HOOKS.values())


@dataclass(frozen=True)
class PluginStatus:
    """What became of one entry point.

    Attributes
    ----------
    dist, version : str
        The distribution it belongs to.
    entry : str
        Name of the entry point.
    hooks : tuple of str
        Hooks that it implements.
    state : {"active", "partial", "failed", "blocked"}
        Whether all, some or none of its hooks count; ``blocked`` by the allow-list.
    error : str
        What is wrong with it, a sentence for each thing; empty when nothing is.
    """

    dist: str
    version: str
    entry: str
    hooks: tuple[str, ...]
    state: str
    error: str = ""


@dataclass(frozen=True)
class _Offer:
    spec: specs.Spec
    dist: str
    version: str

    @property
    def qualified(self):
        return f"{self.dist}/{self.spec.name}"


@dataclass(frozen=True)
class _Registry:
    offers: tuple[_Offer, ...]
    statuses: tuple[PluginStatus, ...]

    def of_kind(self, kind):
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
        return [offer for offer in self.offers if offer.spec.kind == kind]


def list_specs(kind, pattern="*"):
    """What is on offer, the package's own first.

    Parameters
    ----------
    kind : str
        ``backbone``, ``task``, ``trainer``, ``engine``, ``index``, ``reader``, ``step`` or
        ``command``.
    pattern : str
        Shell pattern for the name, such as ``"*resnet*"``.

    Returns
    -------
    list of Spec
    """
    return [o.spec for o in _registry().of_kind(kind) if fnmatch(o.spec.name, pattern)]


def get_spec(kind, name):
    """Look a name up.

    Parameters
    ----------
    kind : str
        As for `list_specs`.
    name : str
        Short name, or ``distribution/name``.

    Returns
    -------
    Spec

    Raises
    ------
    ValueError
        If the name is unknown, or several distributions offer it; the choices are listed.
    """
    return _find(kind, name).spec


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
    offer = _find(kind, name)
    return {"name": offer.qualified, "version": offer.version}


def plugin_statuses():
    """What became of every entry point, the package's own first.

    Returns
    -------
    list of PluginStatus
    """
    return list(_registry().statuses)


def reload_plugins():
    """Forget what was discovered; the next look-up discovers anew."""
    _registry.cache_clear()


def missing_requirements(spec):
    """Modules that a spec requires and that cannot be imported.

    Parameters
    ----------
    spec : Spec
        What a plugin offers.

    Returns
    -------
    list of str
    """
    return [name for name in spec.requires if importlib.util.find_spec(name) is None]


def _find(kind, name):
    offers = _registry().of_kind(kind)
    wanted = _normal(name)
    found = [o for o in offers if wanted in (_normal(o.spec.name), _normal(o.qualified))]
    # The package's own short names are reserved: a plugin's are then reached by the full name.
    found = [o for o in found if o.dist == BUILTIN] or found
    if len(found) == 1:
        missing = missing_requirements(found[0].spec)
        if missing:
            raise ValueError(
                f"{kind} {name!r} needs {', '.join(missing)}, not installed here; "
                f"install it with: pip install {' '.join(missing)}"
            )
        return found[0]
    if found:
        choices = ", ".join(o.qualified for o in found)
        raise ValueError(f"{kind} {name!r} is offered more than once: choose one of {choices}")
    known = sorted({o.spec.name for o in offers})
    near = difflib.get_close_matches(wanted, [_normal(k) for k in known], n=1)
    hint = f"; did you mean {next(k for k in known if _normal(k) == near[0])!r}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r}{hint} Known are: {', '.join(known) or 'none'}")


def _normal(name):
    return str(name).lower().replace("-", "_")


@cache
def _registry():
    manager = pluggy.PluginManager("astro_deepgalaxy")
    manager.add_hookspecs(hookspecs)
    offers, statuses = [], []
    own = next(iter(distributions(name=BUILTIN)), None)
    own_version = own.version if own is not None else "unknown"
    _take(manager, builtin, BUILTIN, own_version, "builtin", offers, statuses)
    allowed = os.environ.get("ASTRO_DEEPGALAXY_PLUGINS")
    if allowed is not None:
        allowed = {_normal(name.strip()) for name in allowed.split(",") if name.strip()}
    for dist, version, entry in _entry_points():
        if allowed is not None and _normal(dist) not in allowed:
            error = "not in the allow-list ASTRO_DEEPGALAXY_PLUGINS"
            statuses.append(PluginStatus(dist, version, entry.name, (), "blocked", error))
            continue
        try:
            module = entry.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            message = f"cannot be imported: {_describe(error)}"
            statuses.append(PluginStatus(dist, version, entry.name, (), "failed", message))
            continue
        _take(manager, module, dist, version, entry.name, offers, statuses)
    registry = _Registry(tuple(offers), tuple(_with_conflicts(offers, statuses)))
    for status in registry.statuses:
        if status.state in ("failed", "partial"):
            warnings.warn(
                _warning()(f"plugin {status.dist}:{status.entry}: {status.error}"), stacklevel=2
            )
    return registry


def _entry_points():
    """(distribution, version, entry point) of the group, in an order that does not change."""
    found = {}
    for dist in distributions():
        for entry in dist.entry_points:
            if entry.group == GROUP:
                # The first distribution of a name on the path is the one that is imported.
                found.setdefault((dist.metadata["Name"], entry.name), (dist.version, entry))
    return [
        (dist, version, entry)
        for (dist, _), (version, entry) in sorted(found.items(), key=lambda i: i[0])
    ]


def _take(manager, module, dist, version, entry, offers, statuses):
    """Register one module and ask each of its hooks, one failure at a time."""
    errors = [_misspelt(name) for name in _stray_hooks(module)]
    before = len(offers)
    hooks = []
    try:
        manager.register(module, name=f"{dist}:{entry}")
    except Exception as error:
        statuses.append(PluginStatus(dist, version, entry, (), "failed", _describe(error)))
        return
    for hook, spec_type in _HOOKS.items():
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is not module:
                continue
            hooks.append(hook)
            try:
                made = list(implementation.function())
                wrong = [item for item in made if not isinstance(item, spec_type)]
                if wrong:
                    raise TypeError(f"returned {wrong[0]!r}, not a {spec_type.__name__}")
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                errors.append(f"{hook} failed: {_describe(error)}")
            else:
                offers += [_Offer(spec, dist, version) for spec in made]
    state = "active" if not errors else "partial" if len(offers) > before else "failed"
    statuses.append(PluginStatus(dist, version, entry, tuple(hooks), state, "; ".join(errors)))


def _stray_hooks(module):
    """Functions of a plugin that look like hooks but will never be called."""
    for name, value in vars(module).items():
        marked = hasattr(value, f"{GROUP}_impl")
        if callable(value) and (
            (marked and name not in _HOOKS)
            or (
                not marked
                and name.startswith("register_")
                and getattr(value, "__module__", None) == getattr(module, "__name__", None)
            )
        ):
            yield name


def _misspelt(name):
    if name in _HOOKS:
        return f"{name} is not marked with @hookimpl"
    near = difflib.get_close_matches(name, _HOOKS, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_HOOKS)}"
    return f"there is no hook {name}{hint}"


def _with_conflicts(offers, statuses):
    """The statuses, each with a sentence for every name that is claimed more than once."""
    claims = {}
    for offer in offers:
        claims.setdefault((offer.spec.kind, _normal(offer.spec.name)), []).append(offer)
    notes = {}
    for (kind, _), claimed in claims.items():
        for offer in claimed:
            others = sorted({o.dist for o in claimed if o is not offer})
            if not others or offer.dist == BUILTIN:
                continue
            notes.setdefault(offer.dist, []).append(
                f"the {kind} name {offer.spec.name!r} is also claimed by {', '.join(others)}: "
                f"use {offer.qualified!r}"
            )
    for status in statuses:
        extra = notes.get(status.dist, []) if status.hooks else []
        yield PluginStatus(
            status.dist,
            status.version,
            status.entry,
            status.hooks,
            status.state,
            "; ".join(filter(None, [status.error, *extra])),
        )


def _describe(error):
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _warning():
    # astropy is slow to import, and only needed when something is wrong.
    from astropy.utils.exceptions import AstropyUserWarning

    return type("PluginWarning", (AstropyUserWarning,), {"__doc__": "A plugin cannot be used."})
