"""``astro-deepgalaxy simulate``."""

import json

import click


@click.command()
@click.option("-o", "--output", required=True, help="Folder for the images and their labels.")
@click.option("--simulations", default=12, show_default=True, help="Number of encounters.")
@click.option("--particles", default=12_000, show_default=True, help="Particles in each, in all.")
@click.option("--snapshots", default=32, show_default=True, help="Times at which it is observed.")
@click.option("--cameras", default=8, show_default=True, help="Directions it is observed from.")
@click.option("--pixels", default=96, show_default=True, help="Side of an image.")
@click.option("--seed", default=1, show_default=True, help="Seed of everything drawn at random.")
@click.option("--json", "as_json", is_flag=True, help="Print a summary as JSON.")
def simulate(output, as_json, **options):
    """Simulate galaxy mergers and observe them as FITS images.

    Two disc galaxies with bulges and live dark halos fall together under their own gravity.
    Cameras around them write FITS images with a WCS, units, seeing, sky and noise, and a label
    table, labels.ecsv. Given again after an interruption, the command continues.

    \b
    Examples:
      astro-deepgalaxy simulate -o mergers
      astro-deepgalaxy simulate -o mergers --simulations 40 --particles 30000 --cameras 14
    """
    from ..io import read_table
    from ..simulate.survey import Survey, simulate_survey

    try:
        survey = Survey(**options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    path = simulate_survey(output, survey)
    labels = read_table(path)
    drift = max(json.loads(labels.meta["energy_drift"]))
    if as_json:
        summary = {"labels": str(path), "images": len(labels), "max_energy_drift": drift}
        click.echo(json.dumps(summary))
    else:
        click.echo(
            f"{len(labels)} images of {survey.simulations} encounters -> {path} "
            f"(largest energy drift {drift:.1e})"
        )
