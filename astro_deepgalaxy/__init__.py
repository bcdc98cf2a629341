"""Deduce the physical state of a galaxy merger from its image.

Public names are loaded when they are first used, so that ``import astro_deepgalaxy`` stays
light: neither TensorFlow, Keras, numba nor matplotlib is imported here.
"""

from importlib import import_module

import pluggy

hookimpl = pluggy.HookimplMarker("astro_deepgalaxy")

_PUBLIC = {
    "Cutout": "astro_deepgalaxy.cutout",
    "CutoutStore": "astro_deepgalaxy.store",
    "Flag": "astro_deepgalaxy.flags",
    "GalaxyClusterer": "astro_deepgalaxy.tasks.cluster",
    "GalaxyEmbedder": "astro_deepgalaxy.tasks.embed",
    "ImageReconstructor": "astro_deepgalaxy.tasks.reconstruct",
    "MergerClassifier": "astro_deepgalaxy.tasks.classify",
    "Mosaics": "astro_deepgalaxy.preprocess.mosaic",
    "Recipe": "astro_deepgalaxy.preprocess",
    "SimilaritySearch": "astro_deepgalaxy.tasks.search",
    "TimeScale": "astro_deepgalaxy.labels",
    "preprocess_batch": "astro_deepgalaxy.preprocess.batch",
    "load_model": "astro_deepgalaxy.tasks.base",
    "read_cutout": "astro_deepgalaxy.io",
}

__all__ = ["__version__", "hookimpl", *_PUBLIC]


def __getattr__(name):
    if name == "__version__":
        from importlib.metadata import version

        return version("astro-deepgalaxy")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
