"""Check of a command."""

from .report import require, resolve

__all__ = ["check_command"]


def check_command(command):
    """Check that a command loads and explains itself.

    Parameters
    ----------
    command : str or callable
        Registered name, or the click command.

    Raises
    ------
    AssertionError
        If the command fails.
    """
    import click
    from click.testing import CliRunner

    label, command, _ = resolve("command", command)
    require(isinstance(command, click.Command), f"{label}: is not a click command")
    require(command.help, f"{label}: has no help text")
    result = CliRunner().invoke(command, ["--help"])
    require(result.exit_code == 0, f"{label}: --help fails: {result.output}")
