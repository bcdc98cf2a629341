"""``astro-deepgalaxy quickstart``: the main job on a handful of simulated mergers."""

import json
import time
from contextlib import contextmanager
from pathlib import Path

import click


@click.command()
@click.option(
    "-o",
    "--output",
    default="astro-deepgalaxy-quickstart",
    show_default=True,
    help="Folder for everything; an interrupted run goes on there.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of everything drawn at random.")
@click.option("--simulations", default=12, show_default=True, help="Mergers to simulate.")
@click.option("--epochs", default=12, show_default=True, help="Passes over the training images.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def quickstart(output, seed, simulations, epochs, as_json):
    """Simulate mergers, train on some of them, predict the others, and report.

    Disc galaxies with bulges and live halos merge under their own gravity; cameras around them
    write FITS images with a WCS, units and a label table, as a survey would. A small network
    learns the time since the first pericentre from most of the simulations and is judged on the
    others. Takes some minutes on two cores. Open report.html when it is done.

    \b
    Examples:
      astro-deepgalaxy quickstart
      astro-deepgalaxy quickstart -o first-look --seed 7
    """
    from joblib import cpu_count

    from ..run_config import Data, Network, RunConfig, Training
    from ..simulate.imaging import RealTelescope, write_images
    from ..simulate.plan import read_preset
    from ..simulate.survey import run_survey
    from . import load_keras, train

    if simulations < 4:
        raise click.UsageError("--simulations must be at least 4: some to train on, some to judge")
    load_keras()
    output = Path(output)
    clock = _Clock(quiet=as_json)
    plan = read_preset("first-look")
    mergers = plan.simulations[0].model_copy(update={"number": simulations})
    plan = plan.model_copy(update={"seed": seed, "simulations": [mergers]})
    with clock("simulate the mergers"):
        for state in run_survey(output / "simulations", plan):
            if state.status != "done":
                raise click.ClickException(f"{state.name} {state.status}: {state.reason}")
    with clock("observe them"):
        labels = write_images(output / "simulations", output / "observed", RealTelescope())
    config = RunConfig(
        output=str(output),
        data=Data(labels=str(labels), image_size=_IMAGE_SIZE, processes=min(8, cpu_count())),
        network=Network(backbone="simple"),
        training=Training(
            epochs=epochs,
            batch_size=64,
            learning_rate=3e-3,
            seed=seed,
            validation_fraction=0.1,
            test_fraction=0.25,
        ),
    )
    card, page = train.run(config, clock=clock, sequence=_sequence)
    if as_json:
        click.echo(json.dumps({"scorecard": card.to_dict(), "seconds": clock.seconds}))
        return
    click.echo("")
    for stage, seconds in clock.seconds.items():
        click.echo(f"  {seconds:7.1f} s  {stage}")
    click.echo(f"  {sum(clock.seconds.values()):7.1f} s  in all\n")
    click.echo(train.summary(card))
    click.echo(f"\nmodel      {output / 'model'}")
    click.echo(f"catalogue  {output / 'catalogue.ecsv'} and .fits")
    click.echo(f"snapshots  {output / 'simulations'}")
    click.echo(f"images     {output / 'observed'}")
    click.echo(f"report     {page}")


_IMAGE_SIZE = 64


class _Clock:
    """Says which stage runs, and how long each one took."""

    def __init__(self, quiet):
        self.seconds = {}
        self.quiet = quiet

    @contextmanager
    def __call__(self, stage):
        if not self.quiet:
            click.echo(f"{stage} ...")
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 1)


def _sequence(catalogue, labels, load):
    """One unseen merger through one camera, with the true and the predicted time."""
    import numpy as np

    groups = np.asarray(labels["group"], dtype=str)
    first = groups == groups[0]
    chosen = np.flatnonzero(first & (labels["camera"] == labels["camera"][0]))
    chosen = chosen[np.argsort(labels["snapshot"][chosen])]
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(18, len(chosen))).round().astype(int)]
    captions = [
        f"{labels['time_since_pericentre'][i].value:+.0f} Myr, "
        f"predicted {catalogue['time_since_pericentre'][i].value:+.0f}"
        for i in chosen
    ]
    sentence = (
        f"The merger {groups[0]}, never seen in training, through one camera: time since the "
        "first pericentre, true and predicted. Images as the network sees them."
    )
    return load(chosen)[..., 0], captions, sentence
