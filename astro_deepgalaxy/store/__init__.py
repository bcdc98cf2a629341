"""Network-ready images on disk, with their label table."""

from .cutout_store import CutoutStore
from .splits import split_by_group
from .targets import CategoryTarget, TimeTarget, target_from_dict

__all__ = ["CategoryTarget", "CutoutStore", "TimeTarget", "split_by_group", "target_from_dict"]
