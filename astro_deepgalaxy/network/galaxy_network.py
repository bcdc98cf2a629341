"""The network that every task shares."""

import warnings
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import keras

from ..plugins import get_spec
from .heads import classifier

__all__ = ["GalaxyNetwork", "NetworkConfig"]


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network, as plain data.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of an image, (y, x, channel).
    outputs : dict of str to int
        Number of classes of each output of the classifier.
    backbone : str
        Name of a registered backbone.
    backbone_options : dict
        Options of its factory.
    pooling : {"average", "flatten"}
        How the classifier reads the last feature map.
    dropout : float
        Dropout before the classifier's outputs.
    """

    input_shape: tuple[int, int, int]
    outputs: dict[str, int]
    backbone: str = "efficientnet_b0"
    backbone_options: dict = field(default_factory=dict)
    pooling: str = "average"
    dropout: float = 0.0

    def untrained(self):
        """The configuration without pretrained weights, to be filled from a file.

        Returns
        -------
        NetworkConfig
        """
        options = {k: v for k, v in self.backbone_options.items() if k != "weights"}
        return replace(self, backbone_options=options)

    def to_dict(self):
        """The configuration as JSON data."""
        return asdict(self) | {"input_shape": list(self.input_shape)}

    @classmethod
    def from_dict(cls, data):
        """Rebuild a configuration.

        Parameters
        ----------
        data : dict
            What `to_dict` returned.

        Returns
        -------
        NetworkConfig
        """
        return cls(**(data | {"input_shape": tuple(data["input_shape"])}))


class GalaxyNetwork:
    """Encoder E and classifier FC as separate models that share what they compute.

    Each part is built when it is first asked for and keeps its own weight file, so that a task
    trains, freezes or borrows parts by name.

    Parameters
    ----------
    config : NetworkConfig
        What to build.

    Raises
    ------
    ValueError
        If the backbone is unknown, or the images are too small or have the wrong number of
        channels for it.
    """

    parts = ("encoder", "classifier")

    def __init__(self, config):
        spec = get_spec("backbone", config.backbone)
        ny, nx, channels = config.input_shape
        if min(ny, nx) < spec.min_size:
            raise ValueError(
                f"backbone {spec.name!r} needs images of at least {spec.min_size} pixels a side; "
                f"these have {ny} x {nx}"
            )
        if spec.channels and channels not in spec.channels:
            raise ValueError(
                f"backbone {spec.name!r} takes images of {spec.channels} channels; "
                f"these have {channels}"
            )
        self.config = config
        self._spec = spec

    @cached_property
    def encoder(self):
        """E: from images (n, y, x, channel) in [0, 1] to a dict of feature maps."""
        return self._spec.load()(self.config.input_shape, **self.config.backbone_options)

    @cached_property
    def classifier(self):
        """FC: from the last feature map M to a dict of class probabilities."""
        return classifier(
            self.feature_map.shape[1:],
            self.config.outputs,
            pooling=self.config.pooling,
            dropout=self.config.dropout,
        )

    @property
    def feature_map(self):
        """M, the last feature map of the encoder (a symbolic tensor)."""
        maps = self.encoder.output
        return maps[max(maps, key=lambda stage: int(stage.removeprefix("stage")))]

    @cached_property
    def classify(self):
        """The path image -> E -> FC as one model with a dict of outputs."""
        return keras.Model(self.encoder.input, self.classifier(self.feature_map), name="classify")

    def save_weights(self, folder):
        """Write one weight file per part.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            An existing folder; gets ``encoder.weights.h5`` and ``classifier.weights.h5``.
        """
        for part in self.parts:
            getattr(self, part).save_weights(Path(folder) / f"{part}.weights.h5")

    def load_weights(self, folder):
        """Read the weight file of each part.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save_weights` wrote.

        Raises
        ------
        ValueError
            If a file is missing or holds the weights of another network.
        """
        for part in self.parts:
            path = Path(folder) / f"{part}.weights.h5"
            try:
                with warnings.catch_warnings():
                    # Keras only warns of layers that a file does not hold.
                    warnings.filterwarnings("error", ".*freshly-initialized")
                    getattr(self, part).load_weights(path)
            except (OSError, ValueError, KeyError, UserWarning) as error:
                raise ValueError(
                    f"{path}: not the weights of the {part} of a {self.config.backbone!r} network "
                    f"with outputs {self.config.outputs}: {_first_line(error)}"
                ) from error


def _first_line(error):
    return str(error).strip().split("\n")[0]
