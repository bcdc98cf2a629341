"""Network-ready images on disk, with their label table."""

from .cutout_store import CutoutStore
from .joined import JoinedStores, open_stores
from .splits import groups_of, split_by_group
from .targets import (
    BooleanTarget,
    CategoryTarget,
    ClassTarget,
    ImageTarget,
    NoTarget,
    TimeTarget,
    ValueTarget,
    target_from_dict,
)

__all__ = [
    "BooleanTarget",
    "CategoryTarget",
    "ClassTarget",
    "CutoutStore",
    "ImageTarget",
    "JoinedStores",
    "NoTarget",
    "TimeTarget",
    "ValueTarget",
    "groups_of",
    "open_stores",
    "split_by_group",
    "target_from_dict",
]
