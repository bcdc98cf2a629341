"""The command line, ``astro-deepgalaxy``: commands are found by name and imported when run."""

import os
import warnings

import click

__all__ = ["load_keras", "main"]


class _Commands(click.Group):
    """A group whose commands come from the registry, built-in and plugins' alike."""

    def main(self, *args, **kwargs):
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return super().main(*args, **kwargs)

    def invoke(self, ctx):
        if ctx.params["debug"]:
            return super().invoke(ctx)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            click.echo(_sentence(interrupt) if interrupt.args else "Interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            raise
        except (ValueError, OSError, ImportError) as error:
            raise click.ClickException(_sentence(error)) from error

    def list_commands(self, ctx):
        return [name for section in _sections().values() for name in section]

    def get_command(self, ctx, name):
        from ..plugins import get_spec

        known = super().get_command(ctx, name)
        if known is not None:
            return known
        try:
            spec = get_spec("command", name)
        except ValueError as error:
            ctx.fail(str(error))
        try:
            command = spec.load()
            if not isinstance(command, click.Command):
                raise TypeError(f"{spec.factory} is not a click command")
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            raise click.ClickException(
                f"the command {name!r} cannot be loaded: {type(error).__name__}: "
                f"{_sentence(error)} (--debug shows where)"
            ) from error
        return command

    def format_commands(self, ctx, formatter):
        for title, commands in _sections().items():
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(name, spec.summary) for name, spec in commands.items()])


def _sections():
    """Names and specs of the commands: the package's own, then the plugins'."""
    from ..plugins import BUILTIN, get_spec, plugin_statuses

    sections = {"Commands": {}, "Commands of plugins": {}}
    for status in plugin_statuses():
        title = "Commands" if status.dist == BUILTIN else "Commands of plugins"
        for spec in status.specs:
            if spec.kind != "command":
                continue
            try:
                short = get_spec("command", spec.name) is spec
            except ValueError:  # claimed by several plugins
                short = False
            sections[title][spec.name if short else status.qualified(spec)] = spec
    return sections


def load_keras():
    """Import Keras without what TensorFlow has to say about the machine (unless debugging)."""
    context = click.get_current_context(silent=True)
    if context is not None and context.find_root().params.get("debug"):
        import keras

        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # It writes to the file descriptor before it heeds that variable.
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _sentence(error):
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message, category, *_):
    click.echo(f"Warning: {_sentence(message)}", err=True)


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="'astro-deepgalaxy COMMAND --help' explains a command and gives examples.",
)
@click.version_option(package_name="astro-deepgalaxy")
@click.option(
    "--debug",
    is_flag=True,
    envvar="ASTRO_DEEPGALAXY_DEBUG",
    help="Show where an error happened (also: ASTRO_DEEPGALAXY_DEBUG=1).",
)
def main(debug):
    """Deduce the physical state of galaxy mergers from images."""
