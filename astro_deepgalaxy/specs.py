"""What a plugin may offer, as plain data: nothing heavy is imported until asked for."""

import re
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar

__all__ = [
    "BackboneSpec",
    "CommandSpec",
    "EngineSpec",
    "IndexSpec",
    "ReaderSpec",
    "Spec",
    "StepSpec",
    "TaskSpec",
    "TrainerSpec",
]

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One thing that a plugin offers.

    Attributes
    ----------
    name : str
        Short name: lower-case words joined by ``_`` or ``-``.
    factory : str
        ``"module:callable"``, imported when the thing is first used.
    summary : str
        One sentence for listings.
    requires : tuple of str
        Modules that must be importable for the factory to work (optional dependencies).
    install : str
        Command that installs what `requires` names; empty when pip does by these names.

    Raises
    ------
    ValueError
        If the name or the factory is not of that form.
    """

    kind: ClassVar[str] = ""

    name: str
    factory: str
    summary: str = ""
    requires: tuple[str, ...] = ()
    install: str = ""

    def __post_init__(self):
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"{type(self).__name__}: the name {self.name!r} must be lower-case letters and "
                "digits in words joined by '_' or '-'"
            )
        if not isinstance(self.factory, str) or not _FACTORY.fullmatch(self.factory):
            raise ValueError(
                f"{type(self).__name__} {self.name!r}: the factory {self.factory!r} must be "
                "'module:callable'"
            )

    @property
    def missing(self):
        """The modules of `requires` that are not installed (tuple of str)."""
        return tuple(name for name in self.requires if not _importable(name))

    @property
    def remedy(self):
        """The command that installs what is missing; empty when nothing is (str)."""
        missing = self.missing
        if not missing:
            return ""
        return self.install or f"pip install {' '.join(missing)}"

    def load(self):
        """Import the factory.

        Returns
        -------
        callable
            What `factory` names.

        Raises
        ------
        ImportError
            If a module of `requires` is missing, or the factory cannot be imported.
        """
        if self.missing:
            raise ImportError(
                f"the {self.kind} {self.name!r} needs {', '.join(self.missing)}, which is not "
                f"installed; try: {self.remedy}"
            )
        module, _, attribute = self.factory.partition(":")
        module = import_module(module)
        try:
            return getattr(module, attribute)
        except AttributeError as error:
            raise ImportError(f"{self.factory}: there is no such callable: {error}") from error


def _importable(module):
    try:
        return find_spec(module) is not None
    except ImportError:  # a parent package is missing
        return False


@dataclass(frozen=True, kw_only=True)
class BackboneSpec(Spec):
    """A feature extractor: ``factory(input_shape, **options) -> keras.Model``.

    The model is functional and fully convolutional, takes one batch (n, y, x, channel) in [0, 1]
    and returns a dict of feature maps ``{"stage1": ..., "stageN": ...}``, finest first.

    Attributes
    ----------
    min_size : int
        Smallest image side in pixels.
    channels : tuple of int
        The channel counts it takes; empty when any will do.
    """

    kind: ClassVar[str] = "backbone"

    min_size: int = 32
    channels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TaskSpec(Spec):
    """A question asked of the network: the factory is a scikit-learn-style estimator class.

    Attributes
    ----------
    outputs : tuple of str
        Names of the network outputs that the task trains and reads.
    targets : tuple of str
        Columns of the label table that it learns from.
    losses : tuple of str
        The loss of each output.
    columns : tuple of str
        Columns that it adds to a catalogue.
    """

    kind: ClassVar[str] = "task"

    outputs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainerSpec(Spec):
    """Who trains: ``factory(**options)`` returns an object with ``fit(job) -> TrainingResult``."""

    kind: ClassVar[str] = "trainer"


@dataclass(frozen=True, kw_only=True)
class EngineSpec(Spec):
    """Who predicts: ``factory(network, outputs=None, **options)``.

    It returns an object whose ``predict(batch)`` gives a dict of arrays: the network's outputs of
    these names, those of the classifier by default.
    """

    kind: ClassVar[str] = "engine"


@dataclass(frozen=True, kw_only=True)
class IndexSpec(Spec):
    """An index of vectors: who finds the nearest neighbours by Euclidean distance.

    ``factory(vectors, **options)``, with vectors (n, L) or None for an empty one, returns an
    object with ``query(vectors, k) -> (distances, rows)``, both (n, k), nearest first;
    ``add(vectors)``, whose rows go on after those before; ``save(folder)`` of what it adds to the
    vectors; ``load(folder, vectors)``, with the vectors it was made of, which may be
    memory-mapped; and ``len``.
    """

    kind: ClassVar[str] = "index"


@dataclass(frozen=True, kw_only=True)
class ReaderSpec(Spec):
    """An image format: ``factory(path, **options) -> Cutout``.

    Attributes
    ----------
    suffixes : tuple of str
        File name endings in lower case, compression included (``".fits.gz"``).
    """

    kind: ClassVar[str] = "reader"

    suffixes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepSpec(Spec):
    """A preprocessing step: a frozen dataclass whose instances map a Cutout to a Cutout."""

    kind: ClassVar[str] = "step"


@dataclass(frozen=True, kw_only=True)
class CommandSpec(Spec):
    """A command of ``astro-deepgalaxy``: the factory is a `click.Command`."""

    kind: ClassVar[str] = "command"
