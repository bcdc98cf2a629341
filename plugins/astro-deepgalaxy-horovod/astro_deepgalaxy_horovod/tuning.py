"""What Horovod is told about itself."""

__all__ = ["horovod_environment"]

_CYCLE_BYTES = 2**20  # below this a step is short, and waiting for a cycle would show


def horovod_environment(settings, gradient_bytes):
    """Environment variables of Horovod for a run.

    Its background thread looks for work once a cycle, on a core that the worker computes on.
    All gradients come at once, as one group, so that one look a step is enough: a long cycle
    leaves the core to the computation. Only where a step takes little more than a cycle the wait
    for the look would be longer than what it saves.

    Parameters
    ----------
    settings : Settings
        What the user wants.
    gradient_bytes : int
        What the workers exchange in a step.

    Returns
    -------
    dict of str to str
    """
    cycle = settings.cycle_time
    if cycle is None:
        cycle = 20.0 if gradient_bytes > _CYCLE_BYTES else 2.0
    fusion = settings.fusion_bytes or max(2**27, gradient_bytes + 2**20)
    environment = {
        # A process that does not answer at all, and one that answers but takes no step: the
        # first worker may be writing a checkpoint meanwhile.
        "HOROVOD_GLOO_TIMEOUT_SECONDS": str(settings.stall_seconds),
        "HOROVOD_STALL_CHECK_TIME_SECONDS": str(settings.stall_seconds),
        "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS": str(5 * settings.stall_seconds),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    if not settings.elastic:
        # Horovod 0.28 that was told either of these crashes when its workers meet again.
        environment["HOROVOD_CYCLE_TIME"] = f"{cycle:g}"
        environment["HOROVOD_FUSION_THRESHOLD"] = str(fusion)
    if settings.autotune:
        environment["HOROVOD_AUTOTUNE"] = "1"
    if settings.timeline:
        environment["HOROVOD_TIMELINE"] = settings.timeline
    return environment
