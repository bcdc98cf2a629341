"""Training of astro_deepgalaxy on many cores and machines, by Horovod."""

from astro_deepgalaxy import hookimpl
from astro_deepgalaxy.specs import CommandSpec, TrainerSpec

BUILD = "astro-deepgalaxy horovod build"


@hookimpl
def register_trainers():
    """The trainer that many processes run."""
    return [
        TrainerSpec(
            name="horovod",
            factory="astro_deepgalaxy_horovod.trainer:HorovodTrainer",
            summary="Train in many processes, on one machine or several",
            requires=("horovod",),
            install=BUILD,
        )
    ]


@hookimpl
def register_commands():
    """The command that installs Horovod and measures how it scales."""
    return [
        CommandSpec(
            name="horovod",
            factory="astro_deepgalaxy_horovod.cli:horovod",
            summary="Install Horovod, and measure how training scales with it",
        )
    ]
