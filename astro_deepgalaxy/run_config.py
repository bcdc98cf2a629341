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


class Time(Section):
    """What the time classes mean."""

    origin: str = Field("first pericentre", description="What happens at time zero.")
    start: float = Field(-190.0, description="Beginning of the first class, in Myr.")
    step: float = Field(10.0, gt=0, description="Length of a class, in Myr.")
    n: int = Field(71, ge=2, description="Number of classes.")


class Training(Section):
    """How to train."""

    epochs: int = Field(20, ge=1, description="Passes over the training images.")
    batch_size: int = Field(32, ge=1, description="Images in a batch.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak of the cosine schedule.")
    target_width: float = Field(15.0, ge=0, description="Width of the time targets in Myr.")
    augment: bool = Field(True, description="Turn, mirror, shift, dim and add noise.")
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
    data, network, time, training : sections
        See the fields of each.
    """

    output: str = Field("merger-model", description="Folder for model, catalogue and report.")
    data: Data
    network: Network = Network()
    time: Time = Time()
    training: Training = Training()


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
        for key in ("labels", "store", "recipe")
        if getattr(config.data, key)
    }
    return config.model_copy(
        update={
            "data": config.data.model_copy(update=places),
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
    lines = [
        "# A training run: astro-deepgalaxy train run.toml",
        "",
        *_lines(RunConfig, {"output": RunConfig.model_fields["output"].default}),
    ]
    defaults = {"data": Data(labels="mergers/labels.ecsv")}
    for name, field in RunConfig.model_fields.items():
        if name == "output":
            continue
        section = defaults.get(name, field.default)
        lines += ["", f"[{name}]", *_lines(type(section), section.model_dump())]
    return "\n".join(lines) + "\n"


def _lines(model, values):
    for name, value in values.items():
        yield f"# {model.model_fields[name].description}"
        # The empty dict is the same in JSON and TOML, as are strings, numbers and booleans.
        yield f"{name} = {json.dumps(value)}"
