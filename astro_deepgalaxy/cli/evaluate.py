"""``astro-deepgalaxy evaluate``."""

import json

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False))
@click.argument("stores", nargs=-1, required=True, metavar="STORE...")
@click.option("-o", "--output", required=True, help="Folder for the report.")
@click.option(
    "--rows",
    type=click.Choice(["all", "unseen"]),
    default="all",
    show_default=True,
    help="Images to predict: 'unseen' leaves out those of groups that were trained on.",
)
@click.option(
    "--prevalence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.05,
    show_default=True,
    help="Share of mergers on the sky, for which purity is given.",
)
@click.option(
    "--pairs",
    type=click.Path(dir_okay=False),
    help="Table of real galaxies with the columns 'file' and 't_min', a published time in Myr.",
)
@click.option("--engine", default="keras", show_default=True, help="Registered engine.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(model, stores, output, rows, prevalence, pairs, engine, as_json):
    """Judge a model by labelled images, and write a report.

    MODEL is a saved model folder. STORE is a store of labelled images made with its recipe; of
    several, those that were trained on come in the order of the training. The folder gets
    report.html, report.json and the figures as PNG.

    \b
    Examples:
      astro-deepgalaxy evaluate model mergers.zarr -o report
      astro-deepgalaxy evaluate model mergers.zarr controls.zarr -o report --prevalence 0.02
      astro-deepgalaxy evaluate model mergers.zarr -o report --pairs pairs.csv
    """
    from . import load_keras

    load_keras()
    import numpy as np

    from ..evaluation import evaluate, write_evaluation
    from ..evaluation.judged_images import sides
    from ..store import groups_of
    from ..store.joined import open_stores
    from ..tasks.base import load_model
    from .train import summary

    store = open_stores(list(stores))
    estimator = load_model(model).set_params(engine=engine)
    chosen = None
    if rows == "unseen":
        chosen = np.flatnonzero(sides(groups_of(store.table), estimator.training_)[1])
    evaluation = evaluate(estimator, store, chosen, prevalence, pairs)
    page = write_evaluation(output, evaluation, f"Evaluation of {model}")
    if as_json:
        click.echo(json.dumps({"report": str(page), "evaluation": evaluation.to_dict()}))
        return
    if evaluation.scorecard is not None:
        click.echo(summary(evaluation.scorecard))
    for name, reason in evaluation.missing.items():
        click.echo(f"not available, {name.replace('_', ' ')}: {reason}")
    click.echo(f"report: {page}")
