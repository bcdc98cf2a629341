"""``astro-deepgalaxy train``."""

import json
from contextlib import nullcontext
from pathlib import Path

import click


@click.command()
@click.argument("run_file", required=False, type=click.Path(dir_okay=False))
@click.option("--print-config", is_flag=True, help="Print a commented default run file and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures of merit as JSON.")
def train(run_file, print_config, as_json):
    """Train a model from a TOML run file, and report on groups it never saw.

    The output folder gets the model, a catalogue of the test groups (ECSV and FITS), a report and
    the checkpoints. A run that was interrupted goes on when the command is given again.

    \b
    Examples:
      astro-deepgalaxy train --print-config > run.toml
      astro-deepgalaxy train run.toml
    """
    from ..run_config import default_toml, read_run_config
    from . import load_keras

    if print_config:
        click.echo(default_toml(), nl=False)
        return
    if run_file is None:
        raise click.UsageError(
            "give a run file; 'astro-deepgalaxy train --print-config > run.toml' writes one"
        )
    config = read_run_config(run_file)
    load_keras()
    card, page = run(config)
    if as_json:
        scores = None if card is None else card.to_dict()
        click.echo(json.dumps({"model": f"{config.output}/model", "scorecard": scores}))
    else:
        click.echo(f"model: {config.output}/model")
        if card is not None:
            click.echo(summary(card))
            click.echo(f"report: {page}")


def run(config, clock=None, sequence=None):
    """Train, predict the test groups and report.

    Parameters
    ----------
    config : RunConfig
        What to do.
    clock : callable, optional
        ``clock(stage)`` returns a context manager that is entered for each stage of the work.
    sequence : callable, optional
        ``sequence(catalogue, labels, load)`` returns the images, captions and sentence of the
        report's contact sheet; ``load(i)`` gives the prepared images of rows of the catalogue.

    Returns
    -------
    card : Scorecard or None
        Figures of merit on the test groups; None without test groups.
    page : `~pathlib.Path` or None
        The report.
    """
    from ..evaluation import scorecard, write_report
    from ..io.tables import write_table
    from ..store import split_by_group

    clock = clock or (lambda stage: nullcontext())
    output = Path(config.output)
    with clock("prepare the images"):
        store = _store(config, output)
    rows, test = None, None
    if config.training.test_fraction:
        rows, test = split_by_group(
            store.table["group"], config.training.test_fraction, config.training.seed
        )
    with clock("train"):
        classifier = _classifier(config, output)
        classifier.fit(store, rows=rows)
        classifier.save(output / "model")
    if test is None:
        return None, None
    with clock("predict the groups never seen"):
        catalogue = classifier.predict(store, rows=test)
        labels = store.table[test]
        _flag_times(catalogue, labels, classifier.time_scale_)
        for suffix in ("ecsv", "fits"):
            write_table(catalogue, output / f"catalogue.{suffix}")
    with clock("report"):
        card = scorecard(catalogue, labels, classifier.training_median_)
        page = write_report(
            output,
            title="Merger times from images",
            card=card,
            catalogue=catalogue,
            labels=labels,
            training=classifier.training_,
            sequence=sequence and sequence(catalogue, labels, lambda i: store.load(test[i])),
        )
    return card, page


def _flag_times(catalogue, labels, scale):
    """Flag the rows whose true time no class stands for."""
    import numpy as np

    from ..flags import Flag, decode_flags

    time = labels["time_since_pericentre"]
    outside = np.isfinite(time) & (scale.classify(time) < 0)
    catalogue["flags"][outside] |= int(Flag.TIME_OUTSIDE_SCALE)
    catalogue["flag_names"] = [decode_flags(mask) for mask in catalogue["flags"]]


def summary(card):
    """The figures of merit as a few lines of text."""
    time = card.time
    return (
        f"median |error| on {len(card.groups)} unseen groups ({time.n} images): "
        f"{time.median:.1f} Myr\n"
        f"always predicting the training median:  {time.baseline:.1f} Myr "
        f"(ratio {time.median / time.baseline:.2f})\n"
        f"90th percentile {time.percentile_90:.0f} Myr; inside the interval {time.coverage:.0%}; "
        f"right stage {card.stage_accuracy:.0%}"
    )


def _store(config, output):
    from ..preprocess import Recipe
    from ..preprocess.batch import preprocess_batch
    from ..store import CutoutStore

    data = config.data
    if data.store:
        return CutoutStore.open(data.store)
    recipe = Recipe.read(data.recipe) if data.recipe else Recipe.default(size=data.image_size)
    return preprocess_batch(data.labels, recipe, output / "store.zarr", processes=data.processes)


def _classifier(config, output):
    from ..labels import TimeScale
    from ..tasks.classify import MergerClassifier

    return MergerClassifier(
        config.network.backbone,
        backbone_options=config.network.backbone_options,
        dropout=config.network.dropout,
        time_scale=TimeScale(**config.time.model_dump()),
        image_size=config.data.image_size,
        processes=config.data.processes,
        work_folder=str(output),
        **config.training.model_dump(exclude={"test_fraction"}),
    )
