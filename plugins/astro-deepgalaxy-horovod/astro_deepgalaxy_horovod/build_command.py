"""``astro-deepgalaxy horovod build``."""

import json
import sys

import click

__all__ = ["build"]

_LINES = 20


@click.command()
@click.option("--mpi", is_flag=True, help="With MPI as well as Gloo; needs an MPI compiler.")
@click.option(
    "--cache",
    metavar="FOLDER",
    type=click.Path(file_okay=False),
    help="Folder of wheels and logs, by default in the user's cache folder.",
)
@click.option("--force", is_flag=True, help="Compile it even where it works or the cache has it.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def build(mpi, cache, force, as_json):
    """Build Horovod for the TensorFlow that is installed, and install it.

    Needs a C++ compiler and make. Compiling takes minutes; the wheel is kept in a cache, from
    which the next environment with the same versions takes it in seconds. It is ready when two
    processes have added known numbers by it.

    \b
    Examples:
      astro-deepgalaxy horovod build
      astro-deepgalaxy horovod build --mpi
    """
    from .build import TITLES, BuildError, build_horovod

    terminal = sys.stdout.isatty()

    def say(sentence):
        if not as_json:
            click.echo(sentence)

    def progress(percent):
        if terminal and not as_json:
            click.echo(f"\r{percent:3d} %", nl=percent == 100)

    try:
        made = build_horovod(mpi, cache, force, say, progress)
    except BuildError as error:
        if error.log is None:
            raise click.ClickException(str(error)) from error
        lines = error.log.read_text(errors="replace").splitlines()
        click.echo("\n".join(lines[-_LINES:]), err=True)
        raise click.ClickException(f"{error}; the whole log is {error.log}") from error
    if as_json:
        click.echo(json.dumps(vars(made)))
        return
    origin = {
        "environment": "it was installed already",
        "cache": f"from {made.wheel}",
        "compiled": f"the wheel is kept as {made.wheel}",
    }
    click.echo(
        f"Horovod {made.horovod} is ready for TensorFlow {made.tensorflow}: two processes added "
        f"known numbers by {TITLES[made.controller]} ({origin[made.source]}; {made.seconds:.0f} s)"
    )
