"""``astro-deepgalaxy train``."""

import json
from contextlib import nullcontext
from pathlib import Path

import click


@click.command()
@click.argument("run_file", required=False, type=click.Path(dir_okay=False))
@click.option("--print-config", is_flag=True, help="Print a commented default run file and stop.")
@click.option("--trainer", help="Registered trainer, in place of the run file's.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes of a trainer that has them.")
@click.option("--hosts", help="Where they run: names and numbers, as a:4,b:4.")
@click.option(
    "--resume", is_flag=True, help="Go on with an interrupted run, and begin none: see below."
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures of merit as JSON.")
def train(run_file, print_config, trainer, workers, hosts, resume, as_json):
    """Train a model from a TOML run file, and report on groups it never saw.

    The output folder gets the model, a catalogue of the test groups (ECSV and FITS), a report and
    the checkpoints. A run that was interrupted goes on when the command is given again; with
    --resume it is an error if there is nothing to go on with.

    \b
    Examples:
      astro-deepgalaxy train --print-config > run.toml
      astro-deepgalaxy train run.toml
      astro-deepgalaxy train run.toml --trainer horovod --workers 2
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
    config = _with_trainer(read_run_config(run_file), trainer, workers, hosts)
    made = Path(config.output) / "training"
    if resume and not any(state for name in ("last", "state-*") for state in made.glob(name)):
        raise ValueError(f"{config.output}: there is no checkpoint to resume; leave --resume out")
    load_keras()
    card, page = run(config)
    if as_json:
        scores = None if card is None else card.to_dict()
        click.echo(json.dumps({"model": f"{config.output}/model", "scorecard": scores}))
    else:
        click.echo(f"model: {config.output}/model")
        if card is not None:
            click.echo(summary(card))
        if page is not None:
            click.echo(f"report: {page}")


def _with_trainer(config, trainer, workers, hosts):
    """The run file with what the command line says of the trainer."""
    given = {"workers": workers, "hosts": hosts}
    given = {name: value for name, value in given.items() if value is not None}
    if trainer is None and not given:
        return config
    old = config.training
    options = old.trainer_options if trainer in (None, old.trainer) else {}
    new = {"trainer": trainer or old.trainer, "trainer_options": options | given}
    return config.model_copy(update={"training": old.model_copy(update=new)})


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
    from ..evaluation import evaluate, write_evaluation
    from ..io.tables import write_table

    clock = clock or (lambda stage: nullcontext())
    output = Path(config.output)
    estimator = _estimator(config, output)
    with clock("prepare the images"):
        store = _store(config, output)
    rows, test = _split(config, store)
    with clock("train"):
        estimator.fit(store, rows=rows, unlabelled=config.data.unlabelled or None)
        estimator.save(output / "model")
    if test is None:
        return None, None
    with clock("predict the groups never seen"):
        evaluation = evaluate(estimator, store, test)
        catalogue, labels = evaluation.catalogue, evaluation.labels
        if config.task == "classify":
            _flag_times(catalogue, labels, estimator)
        for suffix in ("ecsv", "fits"):
            write_table(catalogue, output / f"catalogue.{suffix}")
    with clock("report"):
        page = write_evaluation(
            output,
            evaluation,
            title="Merger times from images" if config.task == "classify" else "Evaluation",
            sequence=sequence and sequence(catalogue, labels, lambda i: store.load(test[i])),
        )
    return evaluation.scorecard, page


def _flag_times(catalogue, labels, classifier):
    """Flag the rows whose true time no class stands for."""
    import numpy as np

    from ..flags import Flag, decode_flags

    time = labels[classifier.time_column]
    if time.dtype.kind in "iu":
        return
    outside = np.isfinite(time) & (classifier.time_scale_.classify(time) < 0)
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
    from ..store.joined import open_stores

    data = config.data
    if data.store:
        return open_stores(data.store)
    recipe = Recipe.read(data.recipe) if data.recipe else Recipe.default(size=data.image_size)
    return preprocess_batch(data.labels, recipe, output / "store.zarr", processes=data.processes)


def _estimator(config, output):
    from ..labels import TimeScale
    from ..plugins import get_spec

    factory = get_spec("task", config.task).load()
    given = {
        "backbone": config.network.backbone,
        "backbone_options": config.network.backbone_options,
        "dropout": config.network.dropout,
        "noise": config.network.noise,
        "image_size": config.data.image_size,
        "processes": config.data.processes,
        "work_folder": str(output),
        "also": config.also or None,
        **config.training.model_dump(exclude={"test_fraction", "target_width", "time_loss"}),
    }
    for name in ("labelled_fraction", "initial_weights"):
        given[name] = given[name] or None
    if config.task == "classify":
        time = config.time.model_dump()
        given |= {
            "pooling": config.network.pooling,
            "time_column": time.pop("column"),
            "time_components": time.pop("components"),
            "time_scale": TimeScale(**time),
            "target_width": config.training.target_width,
            "time_loss": config.training.time_loss or None,
        }
    unknown = set(config.options) - set(factory._get_param_names())
    if unknown:
        raise ValueError(
            f"options: the task {config.task!r} has no parameter {', '.join(sorted(unknown))}; it "
            f"has {', '.join(factory._get_param_names())}"
        )
    return factory(**(given | config.options))


def _split(config, store):
    """Rows to train on and rows of the test, which has whole groups unless images are asked for."""
    from ..store import groups_of, split_by_group

    training, table = config.training, store.table
    if not training.test_fraction:
        return None, None
    if training.split != "image" and "group" not in table.colnames:
        raise ValueError(
            f"{store.path}: there is no column 'group' to split by; set test_fraction = 0"
        )
    names = table["id"] if training.split == "image" else groups_of(table)
    return split_by_group(names, training.test_fraction, training.seed)
