"""The network that every task shares."""

import math
import warnings
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import keras
from keras import ops

from ..plugins import get_spec
from .decoder import decoder
from .heads import classifier
from .latent import FeatureError, KLDivergence, Sample, latent_decoder, latent_encoder

__all__ = ["GalaxyNetwork", "NetworkConfig"]

_DECODED = ("reconstruction", "latent_reconstruction")
_LATENT = ("z", "z_log_variance", "latent_reconstruction", "kl", "feature_error")


@dataclass(frozen=True)
class NetworkConfig:
    """All that is needed to build a network, as plain data.

    Attributes
    ----------
    input_shape : tuple of int
        Shape of an image, (y, x, channel).
    outputs : dict of str to int
        Number of values of each output of the classifier; without any there is no classifier.
    backbone : str
        Name of a registered backbone.
    backbone_options : dict
        Options of its factory.
    pooling : {"average", "flatten"}
        How the classifier reads the last feature map.
    dropout : float
        Dropout before the classifier's outputs.
    noise : float
        Standard deviation of Gaussian noise added to the images in training, as in Cai et al.
        (2020).
    activations : dict of str to str
        Activation of each output that is not a softmax.
    decoder : dict or None
        Options of `~astro_deepgalaxy.network.decoder.decoder`; None for no decoder.
    latent : dict or None
        Options of `~astro_deepgalaxy.network.latent.latent_encoder`; None for no latent.
    """

    input_shape: tuple[int, int, int]
    outputs: dict[str, int] = field(default_factory=dict)
    backbone: str = "efficientnet_b0"
    backbone_options: dict = field(default_factory=dict)
    pooling: str = "average"
    dropout: float = 0.0
    noise: float = 0.0
    activations: dict[str, str] = field(default_factory=dict)
    decoder: dict | None = None
    latent: dict | None = None

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
    """Encoder, classifier, decoder and latent as separate models that share what they compute.

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

    @property
    def parts(self):
        """Names of the parts that the configuration asks for."""
        parts = ["encoder"]
        if self.config.outputs:
            parts.append("classifier")
        if self.config.decoder is not None:
            parts.append("decoder")
        if self.config.latent is not None:
            parts += ["latent_encoder", "latent_decoder"]
        return tuple(parts)

    @cached_property
    def encoder(self):
        """E: from images (n, y, x, channel) in [0, 1] to a dict of feature maps."""
        return self._spec.load()(self.config.input_shape, **self.config.backbone_options)

    @property
    def feature_map(self):
        """M, the last feature map of the encoder (a symbolic tensor)."""
        return _last(self.encoder.output)

    @property
    def strides(self):
        """Strides of the encoder's stages, finest first."""
        maps = self.encoder.output
        return [
            self.config.input_shape[0] // maps[f"stage{i}"].shape[1]
            for i in range(1, len(maps) + 1)
        ]

    @cached_property
    def classifier(self):
        """FC: from the last feature map M to a dict of answers."""
        return classifier(
            self.feature_map.shape[1:],
            self.config.outputs,
            self.config.activations,
            pooling=self.config.pooling,
            dropout=self.config.dropout,
        )

    @cached_property
    def decoder(self):
        """D: from the last feature map M to an image."""
        ny, nx, channels = self.config.input_shape
        sizes = [feature_map.shape[1:3] for feature_map in self.encoder.output.values()]
        whole = all(
            n * y == ny and n * x == nx for n, (y, x) in zip(self.strides, sizes, strict=True)
        )
        if not whole or any(coarse % fine for fine, coarse in pairwise(self.strides)):
            coarsest = 2 ** math.ceil(math.log2(ny / self.feature_map.shape[1]))
            raise ValueError(
                f"the decoder needs images whose sides are multiples of {coarsest}, the last "
                f"stride of the backbone {self.config.backbone!r}; these have {ny} x {nx} pixels"
            )
        return decoder(
            self.feature_map.shape[1:], channels, self.strides, **(self.config.decoder or {})
        )

    @cached_property
    def latent_encoder(self):
        """From M to mean and variance of the latent z."""
        return latent_encoder(self.feature_map.shape[1:], **(self.config.latent or {}))

    @cached_property
    def latent_decoder(self):
        """From z to M."""
        return latent_decoder(self.feature_map.shape[1:], **(self.config.latent or {}))

    @property
    def outputs(self):
        """Names that `model` knows."""
        names = [*self.config.outputs, "feature_map"]
        if self.config.latent is not None:
            names += ["z", "z_log_variance", "kl", "feature_error"]
        if self.config.decoder is not None:
            names.append("reconstruction")
            if self.config.latent is not None:
                names.append("latent_reconstruction")
        return tuple(names)

    def model(self, names):
        """One model from images to the outputs asked for; it holds only the parts they need.

        Parameters
        ----------
        names : sequence of str
            Outputs of the classifier, or

            feature_map
                M.
            z, z_log_variance
                Mean and logarithm of the variance of the latent, (n, L).
            reconstruction
                The image through E and D.
            latent_reconstruction
                The image through E, z and D: the mean of z, or in training a draw of it.
            kl, feature_error
                The two losses of the latent, (n, 1).

        Returns
        -------
        keras.Model
            With a dict of outputs.

        Raises
        ------
        ValueError
            If the network has no such output.
        """
        unknown = [name for name in names if name not in self.outputs]
        if unknown or not names:
            raise ValueError(
                f"the network has no output {', '.join(map(repr, unknown))}; it has "
                f"{', '.join(self.outputs)}"
            )
        image = keras.Input(self.config.input_shape, name="image")
        x = image
        if self.config.noise:
            x = keras.layers.GaussianNoise(self.config.noise, name="noise")(x)
        feature_map = _last(self.encoder(x))
        found = {"feature_map": feature_map}
        if any(name in self.config.outputs for name in names):
            found |= self.classifier(feature_map)
        if any(name in _LATENT for name in names):
            found |= self._through_latent(feature_map)
        decoded = [name for name in _DECODED if name in names]
        if decoded:
            found |= self._decoded(found, decoded)
        return keras.Model(image, {name: found[name] for name in names}, name="galaxy_network")

    def _through_latent(self, feature_map):
        posterior = self.latent_encoder(feature_map)
        mean, log_variance = posterior["z"], posterior["z_log_variance"]
        through = self.latent_decoder(Sample(name="sample")(mean, log_variance))
        return {
            **posterior,
            "through": through,
            "kl": KLDivergence(name="kl")(mean, log_variance),
            "feature_error": FeatureError(name="feature_error")(feature_map, through),
        }

    def _decoded(self, found, names):
        maps = {"reconstruction": "feature_map", "latent_reconstruction": "through"}
        if len(names) == 1:
            return {names[0]: self.decoder(found[maps[names[0]]])}
        # Both at once, or the batch normalisation would learn from each in turn and fit neither.
        both = ops.concatenate([found[maps[name]] for name in names], axis=0)
        return dict(zip(names, ops.split(self.decoder(both), 2, axis=0), strict=True))

    @cached_property
    def classify(self):
        """The path image -> E -> FC as one model with a dict of outputs."""
        return self.model(list(self.config.outputs))

    def save_weights(self, folder):
        """Write one weight file per part.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            An existing folder; gets ``encoder.weights.h5`` and so on.
        """
        for part in self.parts:
            getattr(self, part).save_weights(Path(folder) / f"{part}.weights.h5")

    def load_weights(self, folder, parts=None):
        """Read the weight file of each part.

        Parameters
        ----------
        folder : str or `~pathlib.Path`
            Where `save_weights` wrote.
        parts : sequence of str, optional
            Parts to read; all of the network by default.

        Raises
        ------
        ValueError
            If a file is missing or holds the weights of another network.
        """
        for part in self.parts if parts is None else parts:
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


def _last(maps):
    return maps[max(maps, key=lambda stage: int(stage.removeprefix("stage")))]


def _first_line(error):
    return str(error).strip().split("\n")[0]
