"""What the package itself offers, through the same hooks as a stranger's plugin."""

from . import hookimpl
from .specs import (
    BackboneSpec,
    CommandSpec,
    EngineSpec,
    IndexSpec,
    ReaderSpec,
    StepSpec,
    TaskSpec,
    TrainerSpec,
)


@hookimpl
def register_readers():
    """FITS images and pictures."""
    fits = tuple(
        stem + packed for stem in (".fits", ".fit", ".fts") for packed in ("", ".gz", ".bz2", ".fz")
    )
    return [
        ReaderSpec(
            name="fits",
            factory="astro_deepgalaxy.io.fits:read_fits",
            summary="FITS images: plain, compressed, multi-extension, cubes of bands",
            suffixes=fits,
        ),
        ReaderSpec(
            name="picture",
            factory="astro_deepgalaxy.io.pictures:read_picture",
            summary="JPEG and PNG pictures, in colour or grey",
            suffixes=(".jpg", ".jpeg", ".png"),
        ),
    ]


@hookimpl
def register_steps():
    """The steps of a recipe."""
    module = "astro_deepgalaxy.preprocess"
    return [
        StepSpec(
            name="background",
            factory=f"{module}.background:Background",
            summary="Subtract the sky, with sources masked",
        ),
        StepSpec(
            name="align",
            factory=f"{module}.align:Align",
            summary="Reproject north-up to a common pixel scale",
        ),
        StepSpec(
            name="bands",
            factory=f"{module}.bands:Bands",
            summary="Choose bands by name, or combine them into luminance",
        ),
        StepSpec(
            name="crop",
            factory=f"{module}.crop:Crop",
            summary="Cut a square around a position or the brightest source",
        ),
        StepSpec(
            name="resize",
            factory=f"{module}.resize:Resize",
            summary="Resample to a number of pixels a side",
        ),
        StepSpec(
            name="stretch",
            factory=f"{module}.stretch:Stretch",
            summary="Map the pixels to [0, 1] by an arcsinh",
        ),
        StepSpec(
            name="repair",
            factory=f"{module}.repair:Repair",
            summary="Fill bad pixels and cosmic rays from their neighbours",
        ),
        StepSpec(
            name="neighbours",
            factory=f"{module}.neighbours:Neighbours",
            summary="Mask other sources, or replace them by noise",
        ),
        StepSpec(
            name="centre",
            factory=f"{module}.centre:Centre",
            summary="Move the galaxy into the middle by whole pixels",
        ),
        StepSpec(
            name="match_psf",
            factory=f"{module}.match_psf:MatchPSF",
            summary="Convolve the bands to one point-spread function",
        ),
        StepSpec(
            name="normalise",
            factory=f"{module}.normalise:Normalise",
            summary="Divide by the noise, the flux or a percentile",
        ),
        StepSpec(
            name="lupton",
            factory=f"{module}.lupton:Lupton",
            summary="Three bands as a colour picture",
        ),
    ]


@hookimpl
def register_trainers():
    """The trainer of this machine."""
    return [
        TrainerSpec(
            name="local",
            factory="astro_deepgalaxy.trainers.local:LocalTrainer",
            summary="Train in this process, with checkpoints",
        )
    ]


@hookimpl
def register_engines():
    """The engine that trains also predicts."""
    return [
        EngineSpec(
            name="keras",
            factory="astro_deepgalaxy.engines.keras:KerasEngine",
            summary="Predict with Keras on TensorFlow",
        )
    ]


@hookimpl
def register_indexes():
    """An index that compares with every vector, and one for large sets."""
    return [
        IndexSpec(
            name="exact",
            factory="astro_deepgalaxy.indexes.exact:ExactIndex",
            summary="Every vector is compared, by scikit-learn",
        ),
        IndexSpec(
            name="faiss",
            factory="astro_deepgalaxy.indexes.faiss_lists:FaissIndex",
            summary="Some lists of vectors are looked through, by faiss: for a million and more",
        ),
    ]


@hookimpl
def register_tasks():
    """The questions the package answers."""
    return [
        TaskSpec(
            name="classify",
            factory="astro_deepgalaxy.tasks.classify:MergerClassifier",
            summary="The time of a merger and its stage, from its image",
            outputs=("time_class", "stage"),
            targets=("time_since_pericentre", "stage"),
            losses=("categorical_crossentropy", "categorical_crossentropy"),
            columns=(
                "time_class",
                "time_since_pericentre",
                "time_lower",
                "time_upper",
                "time_probabilities",
                "stage",
                "stage_probabilities",
            ),
        ),
        TaskSpec(
            name="reconstruct",
            factory="astro_deepgalaxy.tasks.reconstruct:ImageReconstructor",
            summary="The image that the network makes of its features again",
            outputs=("reconstruction",),
            losses=("mean_absolute_error",),
            columns=("reconstruction_ssim", "reconstruction_error"),
        ),
        TaskSpec(
            name="embed",
            factory="astro_deepgalaxy.tasks.embed:GalaxyEmbedder",
            summary="A few numbers in which images that look alike are neighbours",
            outputs=("kl", "feature_error", "latent_reconstruction"),
            losses=("value", "value", "mean_absolute_error"),
            columns=("z", "z_error"),
        ),
    ]


@hookimpl
def register_commands():
    """The commands of ``astro-deepgalaxy``."""
    summaries = {
        "quickstart": "Simulate mergers, train on some, predict the others, and report",
        "simulate": "Simulate galaxy mergers and observe them as FITS images",
        "preprocess": "Turn images into a store of network-ready cutouts",
        "train": "Train a model from a TOML run file",
        "predict": "Write a catalogue of mergers from images",
        "evaluate": "Judge a model by labelled images, and write a report",
        "reconstruct": "Write what a reconstruction leaves of images, as FITS files",
        "embed": "Describe images by a few numbers, the latent z",
        "index": "Embed a store of images, so that they can be searched",
        "search": "Find the known encounters that images look like",
        "cluster": "Group images that look alike",
        "explain": "Show which parts of the images the predictions rest on",
        "galaxy-zoo": "Label a folder of images by the votes of Galaxy Zoo",
        "plugins": "List and check plugins",
    }
    factory = "astro_deepgalaxy.cli.{0}:{0}"
    return [
        CommandSpec(name=name, factory=factory.format(name.replace("-", "_")), summary=summary)
        for name, summary in summaries.items()
    ]


_CONVNEXT = ("Tiny", "Small", "Base", "Large", "XLarge")
_EFFICIENTNET_V2 = ("B0", "B1", "B2", "B3", "S", "M", "L")
KERAS_APPLICATIONS = {
    **{f"convnext_{size.lower()}": f"ConvNeXt{size}" for size in _CONVNEXT},
    **{f"densenet{depth}": f"DenseNet{depth}" for depth in (121, 169, 201)},
    **{f"efficientnet_b{i}": f"EfficientNetB{i}" for i in range(8)},
    **{f"efficientnetv2_{v.lower()}": f"EfficientNetV2{v}" for v in _EFFICIENTNET_V2},
    "inception_v3": "InceptionV3",
    "inception_resnet_v2": "InceptionResNetV2",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    "nasnet_mobile": "NASNetMobile",
    "nasnet_large": "NASNetLarge",
    **{f"resnet{depth}": f"ResNet{depth}" for depth in (50, 101, 152)},
    **{f"resnet{depth}_v2": f"ResNet{depth}V2" for depth in (50, 101, 152)},
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}
"""Names of backbones and of the functions of `keras.applications` that build them."""


@hookimpl
def register_backbones():
    """A small network of our own and the families of `keras.applications`."""
    simple = BackboneSpec(
        name="simple",
        factory="astro_deepgalaxy.backbones.simple:simple",
        summary="A few plain convolutions: small data sets, quick runs",
        min_size=32,
    )
    return [simple] + [
        BackboneSpec(
            name=name,
            factory=f"astro_deepgalaxy.backbones.keras_applications:{name}",
            summary=f"{application} of keras.applications, any number of channels",
            min_size=32,
        )
        for name, application in KERAS_APPLICATIONS.items()
    ]
