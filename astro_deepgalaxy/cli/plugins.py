"""``astro-deepgalaxy plugins``."""

import json
import sys

import click


@click.group()
def plugins():
    """List and check plugins."""


@plugins.command("list")
@click.option("--all", "everything", is_flag=True, help="Also what the package itself offers.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_plugins(everything, as_json):
    """List what each installed distribution offers, and what is wrong with it.

    What needs something that is not installed is marked, with the command that installs it.

    \b
    Examples:
      astro-deepgalaxy plugins list
      astro-deepgalaxy plugins list --all --json
    """
    from ..plugins import BUILTIN, plugin_statuses

    statuses = plugin_statuses()
    shown = [status for status in statuses if everything or status.dist != BUILTIN]
    if as_json:
        click.echo(json.dumps([_as_data(status) for status in shown], indent=1))
        return
    for status in shown:
        click.secho(f"{status.dist} {status.version}", bold=True, nl=False)
        click.echo(f"  ({status.entry}: {status.state})")
        width = max((len(spec.name) for spec in status.specs), default=0)
        for spec in status.specs:
            click.echo(f"  {spec.kind:<8}  {spec.name:<{width}}  {spec.summary}".rstrip())
            if spec.missing:
                why = f"{', '.join(spec.missing)} is not installed; try: {spec.remedy}"
                click.secho(f"  ! {spec.name} is unavailable: {why}", fg="yellow")
        for text, colour in ((status.error, "red"), (status.note, "yellow")):
            for sentence in filter(None, text.split("; ")):
                click.secho(f"  ! {sentence}", fg=colour)
    if not everything:
        own = sum(len(status.specs) for status in statuses if status.dist == BUILTIN)
        if not shown:
            click.echo("No plugins are installed.")
        click.echo(f"The package itself offers {own} things; --all shows them.")


@plugins.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def check(name, as_json):
    """Check that a plugin does what it must.

    NAME is a distribution, or one thing that is on offer: a short or a qualified name. Exits with
    1 when a check fails.

    \b
    Examples:
      astro-deepgalaxy plugins check astro-deepgalaxy-tinynet
      astro-deepgalaxy plugins check efficientnet_b0
    """
    from .. import testing
    from . import load_keras

    load_keras()
    results = []
    for status, spec in _chosen(name):
        result = {"dist": status.dist, "kind": "plugin", "name": status.entry}
        try:
            if spec is None:
                note, passed = status.error or status.note, not status.error
            else:
                result |= {"kind": spec.kind, "name": spec.name}
                note, passed = testing.check_spec(spec, status.qualified(spec)), True
        except AssertionError as error:
            note, passed = str(error), False
        results.append(result | {"passed": passed, "note": note})
        if not as_json:
            mark = click.style("pass", fg="green") if passed else click.style("FAIL", fg="red")
            click.echo(f"{mark}  {result['kind']:<8}  {result['name']}{note and ': ' + note}")
    failed = sum(not result["passed"] for result in results)
    if as_json:
        click.echo(json.dumps(results, indent=1))
    else:
        click.echo(f"{len(results)} checks, {failed} failed")
    if failed:
        sys.exit(1)


def _chosen(name):
    """(status, spec) of what to check; spec None stands for the plugin's loading itself."""
    from ..plugins import KINDS, get_spec, plugin_statuses

    statuses = plugin_statuses()
    wanted = _normal(name)
    of_dist = [status for status in statuses if _normal(status.dist) == wanted]
    if of_dist:
        return [(status, spec) for status in of_dist for spec in (None, *status.specs)]
    found, errors = [], []
    for kind in KINDS:
        try:
            spec = get_spec(kind, name)
        except ValueError as error:
            errors.append(str(error))
        else:
            found += [(s, spec) for s in statuses if any(spec is other for other in s.specs)]
    if found:
        return found
    several = [error for error in errors if "more than one" in error]
    if several:
        raise ValueError(several[0])
    known = ", ".join(sorted({status.dist for status in statuses}))
    raise ValueError(
        f"{name!r} is neither an installed plugin (known are {known}) nor the name of anything on "
        "offer ('astro-deepgalaxy plugins list --all' shows them)"
    )


def _normal(name):
    return name.lower().replace("_", "-")


def _as_data(status):
    return {
        "dist": status.dist,
        "version": status.version,
        "entry": status.entry,
        "state": status.state,
        "hooks": list(status.hooks),
        "offers": [
            {
                "kind": spec.kind,
                "name": spec.name,
                "qualified": status.qualified(spec),
                "summary": spec.summary,
                "factory": spec.factory,
                "available": not spec.missing,
                "missing": list(spec.missing),
                "install": spec.remedy,
            }
            for spec in status.specs
        ],
        "error": status.error,
        "note": status.note,
    }
