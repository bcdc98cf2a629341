"""``astro-deepgalaxy horovod scale``."""

import re

import click

_CYCLE_TIME = 20.0  # milliseconds, what the trainer takes for networks of more than 1 MiB
_RATE = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class _Bandwidth(click.ParamType):
    name = "rate"

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(?:bit)?(?:/s|ps)?", str(value), re.IGNORECASE)
        if found is None or not float(found[1]) > 0:
            self.fail(f"{value!r} is not a bandwidth, as in '100Gbit'", param, ctx)
        return float(found[1]) * _RATE[found[2].lower()]


class _Latency(click.ParamType):
    name = "time"

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"([\d.]+)\s*(s|ms|us|µs|ns)", str(value))
        if found is None:
            self.fail(f"{value!r} is not a time, as in '2us'", param, ctx)
        return float(found[1]) * _TIME[found[2]]


class _Range(click.ParamType):
    name = "first-last"

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"(\d+)-(\d+)", str(value))
        if found is None or not 0 < int(found[1]) <= int(found[2]):
            self.fail(f"{value!r} is not a range of numbers of workers, as in '4-1024'", param, ctx)
        return int(found[1]), int(found[2])


class _Numbers(click.ParamType):
    name = "numbers"

    def convert(self, value, param, ctx):
        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", str(value)):
            self.fail(f"{value!r} are not numbers of workers, as in '1,2,4'", param, ctx)
        return sorted({int(number) for number in value.split(",")})


@click.command()
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False),
    help="Folder for the tables, the figure and study.json.",
)
@click.option("--backbone", default="efficientnet_b0", show_default=True, help="What is trained.")
@click.option("--pixels", default=96, show_default=True, help="Side of the images.")
@click.option("--batch", default=32, show_default=True, help="Images of each worker in a step.")
@click.option(
    "--workers",
    type=_Numbers(),
    help="Numbers of workers to measure, as 1,2,4; by default doubled up to all slots.",
)
@click.option("--hosts", help="Hosts with the workers on each, as a:4,b:4; by default this one.")
@click.option("--steps", default=6, show_default=True, help="Steps of each kind in a turn.")
@click.option(
    "--project",
    type=_Range(),
    default="4-1024",
    show_default=True,
    help="Numbers of workers to project to.",
)
@click.option(
    "--bandwidth",
    type=_Bandwidth(),
    default="100Gbit",
    show_default=True,
    help="Of a host, for the projection.",
)
@click.option(
    "--latency",
    type=_Latency(),
    default="2us",
    show_default=True,
    help="Between hosts, for the projection.",
)
@click.option(
    "--workers-per-host",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="For the projection.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole study as JSON.")
def scale(
    output,
    backbone,
    pixels,
    batch,
    workers,
    hosts,
    steps,
    project,
    bandwidth,
    latency,
    workers_per_host,
    as_json,
):
    """Measure how training scales with the number of workers, and project it to more.

    Times the training step of a network with and without Horovod on these hosts, and allreduces
    of several sizes; fits a performance model; tests it on emulated workers on this machine; and
    projects. No data is needed. Nothing else should run meanwhile.

    \b
    Examples:
      astro-deepgalaxy horovod scale -o scaling
      astro-deepgalaxy horovod scale -o scaling --hosts a:4,b:4 --backbone efficientnet_b4
      astro-deepgalaxy horovod scale -o scaling --bandwidth 25Gbit --latency 20us
    """
    import json
    import logging
    import os
    import signal
    import sys

    from ..settings import Settings, available_cores

    # Ended by the system it cleans up too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    settings = Settings(
        hosts=hosts, workers=None if hosts else len(available_cores()), cycle_time=_CYCLE_TIME
    )
    slots = sum(settings.slots().values())
    if workers is None:
        workers = sorted({2**i for i in range(slots.bit_length())} | {slots})
    if max(workers) > slots:
        raise ValueError(
            f"--workers: there are slots for {slots} workers, but {max(workers)} are to be "
            "measured; name more hosts, or fewer workers"
        )

    from .allreduce import Link
    from .study import plain, run_study, summary

    def say(text):
        click.echo(text, err=True)

    study = run_study(
        output,
        settings,
        {"backbone": backbone, "pixels": pixels, "batch": batch},
        workers,
        steps,
        project,
        Link(bandwidth, latency),
        workers_per_host,
        say,
    )
    click.echo(json.dumps(plain(study)) if as_json else summary(study))
