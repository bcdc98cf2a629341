"""``astro-deepgalaxy horovod``: each command is imported when it is run."""

from importlib import import_module

import click

__all__ = ["horovod"]

_COMMANDS = {
    "build": "astro_deepgalaxy_horovod.build_command:build",
    "scale": "astro_deepgalaxy_horovod.scale.command:scale",
}


class _Commands(click.Group):
    """A group that finds its commands by name, and imports the one that is asked for."""

    def list_commands(self, ctx):
        return sorted(_COMMANDS)

    def get_command(self, ctx, name):
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name].partition(":")
        return getattr(import_module(module), attribute)


@click.command(cls=_Commands)
def horovod():
    """Install Horovod, and measure how training scales with it."""
