"""A training run as a validated TOML file."""

import json
from pathlib import Path

from pydantic import Field, model_validator

from .toml_models import Section, read_toml

__all__ = ["RunConfig", "default_toml", "read_run_config"]


class Data(Section):
    """What to train on."""

    labels: str = Field(
        "", description="Label table with a column 'file' (CSV, ECSV, FITS, VOTable, Parquet) ..."
    )
    store: str = Field("", description="... or a store made by 'astro-deepgalaxy preprocess'.")
    recipe: str = Field("", description="Recipe (JSON) for raw images; the default when empty.")
    image_size: int = Field(128, ge=16, description="Side in pixels, when no recipe is given.")
    processes: int = Field(1, ge=1, description="Processes that prepare images.")
    unlabelled: str = Field(
        "", description="More images without labels: files, a folder, a table, or a store."
    )

    @model_validator(mode="after")
    def _one_source(self):
        if bool(self.labels) == bool(self.store):
            raise ValueError("give either data.labels or data.store")
        return self


class Network(Section):
    """What to train."""

    backbone: str = Field("efficientnet_b0", description="See: astro-deepgalaxy plugins list --all")
    backbone_options: dict = Field({}, description="Options of the backbone.")
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout before the outputs.")
    noise: float = Field(0.0, ge=0, description="Width of Gaussian noise added in the network.")
    pooling: str = Field("average", description="How the classifier reads M: average or flatten.")


class Time(Section):
    """What the time classes mean."""

    origin: str = Field("first pericentre", description="What happens at time zero.")
    start: float = Field(-190.0, description="Beginning of the first class, in Myr.")
    step: float = Field(10.0, gt=0, description="Length of a class, in Myr.")
    n: int = Field(71, ge=2, description="Number of classes.")
    column: str = Field("time_since_pericentre", description="Label column that is learned.")
    components: int = Field(0, ge=0, description="Gaussians of a continuous posterior; 0: none.")


class Training(Section):
    """How to train."""

    epochs: int = Field(20, ge=1, description="Passes over the training images.")
    batch_size: int = Field(32, ge=1, description="Images in a batch.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak of the schedule.")
    optimizer: dict | str = Field(
        "adam", description="A Keras optimizer, or a table: name, schedule, further options."
    )
    target_width: float = Field(15.0, ge=0, description="Width of the time targets in Myr.")
    time_loss: str = Field("", description="Loss of the time classes; empty: cross-entropy.")
    augment: bool | dict = Field(True, description="Turn, mirror, shift, dim; or the options.")
    split: str = Field("group", description="Keep aside whole groups, or single images ('image').")
    labelled_fraction: float = Field(
        0.0, ge=0, lt=1, description="Share of a batch that has labels; 0: as it comes."
    )
    initial_weights: str = Field("", description="Model folder to start from.")
    freeze: list[str] = Field([], description="Parts that are not trained, such as encoder.")
    validation_fraction: float = Field(
        0.15, ge=0, lt=1, description="Share of the groups that choose the best epoch."
    )
    test_fraction: float = Field(
        0.2, ge=0, lt=1, description="Share of the groups kept for the report, never trained on."
    )
    seed: int = Field(0, ge=0, description="Seed of everything drawn at random.")
    trainer: str = Field("local", description="Registered trainer.")
    trainer_options: dict = Field({}, description="Options of the trainer.")


class RunConfig(Section):
    """A training run: the sections of the TOML file.

    Attributes
    ----------
    output : str
        Folder for the model, the catalogue, the report and the checkpoints.
    task : str
        What is trained.
    data, network, time, training : sections
        See the fields of each.
    options : dict
        Further parameters of the task's estimator.
    also : dict
        Further tasks that train the same network, each a section with its options and a weight.
    """

    output: str = Field("merger-model", description="Folder for model, catalogue and report.")
    task: str = Field("classify", description="A registered task.")
    data: Data
    network: Network = Network()
    time: Time = Time()
    training: Training = Training()
    options: dict = Field({}, description="Further parameters of the task's estimator.")
    also: dict[str, dict] = Field(
        {}, description="Tasks that share the network: [also.embed] with weight and options."
    )


def read_run_config(path):
    """Read and check a run file.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        TOML file. Relative paths in it are relative to its folder.

    Returns
    -------
    RunConfig

    Raises
    ------
    ValueError
        If the file is not TOML, a key is unknown (the nearest known one is named), or a value
        is out of range.
    """
    path = Path(path)
    config = read_toml(path, RunConfig)
    places = {
        key: str(path.parent / getattr(config.data, key))
        for key in ("labels", "store", "recipe", "unlabelled")
        if getattr(config.data, key)
    }
    training = config.training
    if training.initial_weights:
        start = str(path.parent / training.initial_weights)
        training = training.model_copy(update={"initial_weights": start})
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=places),
            "training": training,
            "output": str(path.parent / config.output),
        }
    )


def default_toml():
    """A run file with every key at its default and a comment on each.

    Returns
    -------
    str
        TOML text that `read_run_config` accepts.
    """
    fields = RunConfig.model_fields
    plain = {name: fields[name].default for name in ("output", "task")}
    lines = ["# A training run: astro-deepgalaxy train run.toml", "", *_lines(RunConfig, plain)]
    defaults = {"data": Data(labels="mergers/labels.ecsv")}
    for name in ("data", "network", "time", "training"):
        section = defaults.get(name, fields[name].default)
        lines += ["", f"[{name}]", *_lines(type(section), section.model_dump())]
    for name in ("options", "also"):
        lines += ["", f"# {fields[name].description}", f"[{name}]"]
    return "\n".join(lines) + "\n"


def _lines(model, values):
    for name, value in values.items():
        yield f"# {model.model_fields[name].description}"
        # The empty dict is the same in JSON and TOML, as are strings, numbers and booleans.
        yield f"{name} = {json.dumps(value)}"
