"""The hooks: what a plugin can implement. Every hook returns descriptions (specs), not classes."""

import pluggy

hookspec = pluggy.HookspecMarker("astro_deepgalaxy")


@hookspec
def register_backbones():
    """Offer feature extractors as an iterable of `~astro_deepgalaxy.specs.BackboneSpec`."""


@hookspec
def register_tasks():
    """Offer questions to ask of the network, as `~astro_deepgalaxy.specs.TaskSpec`."""


@hookspec
def register_trainers():
    """Offer ways to run a training job, as `~astro_deepgalaxy.specs.TrainerSpec`."""


@hookspec
def register_engines():
    """Offer ways to run a trained network, as `~astro_deepgalaxy.specs.EngineSpec`."""


@hookspec
def register_indexes():
    """Offer vector indexes for similarity search, as `~astro_deepgalaxy.specs.IndexSpec`."""


@hookspec
def register_readers():
    """Offer image formats, as `~astro_deepgalaxy.specs.ReaderSpec`."""


@hookspec
def register_steps():
    """Offer preprocessing steps, as `~astro_deepgalaxy.specs.StepSpec`."""


@hookspec
def register_commands():
    """Offer commands of ``astro-deepgalaxy``, as `~astro_deepgalaxy.specs.CommandSpec`."""
