"""An ordered list of steps as data: what was done to an image can always be done again."""

import difflib
import hashlib
import json
import tomllib
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import get_type_hints

from pydantic import TypeAdapter, ValidationError

from ..flags import CutoutError, Flag
from ..plugins import get_spec, provider
from .steps import Step

__all__ = ["Recipe"]

_VERSION = 1
_EXPECTED = {  # by what pydantic calls the error
    "int_type": "a number without decimals",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list",
    "dict_type": "a table of names and values",
}


@dataclass(frozen=True)
class Recipe:
    """Steps that are applied to an image one after the other.

    Attributes
    ----------
    steps : tuple of Step
        The steps in order.

    Examples
    --------
    >>> from astro_deepgalaxy import Recipe
    >>> recipe = Recipe.default(size=64)
    >>> Recipe.from_json(recipe.to_json()) == recipe
    True
    """

    steps: tuple[Step, ...]

    def __post_init__(self):
        object.__setattr__(self, "steps", tuple(self.steps))
        for step in self.steps:
            if not isinstance(step, Step):
                raise ValueError(f"recipe: {step!r} is not a step")
        if any(getattr(step, "scope", "") == "mosaic" for step in self.steps[1:]):
            raise ValueError("recipe: a background with the scope 'mosaic' must be the first step")

    @classmethod
    def default(cls, size=128):
        """One channel in [0, 1], in which near and far, one band or many, all look alike.

        Parameters
        ----------
        size : int
            Side of the result in pixels.

        Returns
        -------
        Recipe
            Luminance, background, crop on the brightest source and its companions by their
            size, resize, stretch.
        """
        from .background import Background
        from .bands import Bands
        from .crop import Crop
        from .resize import Resize
        from .stretch import Stretch

        # Sky subtraction is linear: after the bands are combined it is done once, not for each.
        return cls((Bands(), Background(), Crop(), Resize(size=size), Stretch()))

    def __call__(self, cutout):
        """Apply the steps.

        Parameters
        ----------
        cutout : Cutout
            Raw image; not changed.

        Returns
        -------
        Cutout
            Prepared image, with the flags of the steps.

        Raises
        ------
        CutoutError
            If a step fails on the image; names both.
        """
        for step in self.steps:
            try:
                cutout = step(cutout)
            except Exception as error:
                # A stranger's step may raise anything; one image must not stop a batch.
                flag = getattr(error, "flag", Flag.PREPROCESS_FAILED)
                name = cutout.file or cutout.id or "image"
                raise CutoutError(f"{name}: step {step.name!r}: {error}", flag) from error
        return cutout

    @property
    def uses_mosaic_sky(self):
        """Whether the sky is measured in mosaics, where there are any."""
        return bool(self.steps) and getattr(self.steps[0], "scope", "") == "mosaic"

    def to_dict(self):
        """The recipe as JSON data."""
        steps = []
        for step in self.steps:
            qualified = provider("step", step.name)["name"]
            # The package's own steps go by their short, reserved names.
            own = qualified.startswith("astro-deepgalaxy/")
            steps.append(step.to_dict() | {"step": step.name if own else qualified})
        return json.loads(json.dumps({"version": _VERSION, "steps": steps}))

    @classmethod
    def from_dict(cls, data):
        """Rebuild a recipe.

        Parameters
        ----------
        data : dict
            What `to_dict` returned, or the same written by hand.

        Returns
        -------
        Recipe

        Raises
        ------
        ValueError
            If a step or one of its fields is unknown (the nearest known one is named), or a
            value is impossible.
        """
        if not isinstance(data, dict) or not isinstance(data.get("steps"), list):
            raise ValueError('recipe: expected {"version": 1, "steps": [{"step": name, ...}, ...]}')
        if data.get("version", _VERSION) != _VERSION:
            raise ValueError(
                f"recipe: version {data['version']!r} is not known to this package (it reads "
                f"{_VERSION})"
            )
        return cls(tuple(_step(item) for item in data["steps"]))

    def to_json(self):
        """The recipe as JSON text."""
        return json.dumps(self.to_dict(), indent=1) + "\n"

    @classmethod
    def from_json(cls, text):
        """Rebuild a recipe from JSON text.

        Parameters
        ----------
        text : str
            What `to_json` returned.

        Returns
        -------
        Recipe
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"recipe: not JSON: {error}") from error
        return cls.from_dict(data)

    @classmethod
    def read(cls, path):
        """Read a recipe from a file.

        Parameters
        ----------
        path : str or `~pathlib.Path`
            JSON as `to_json` writes it, or TOML with a table ``[[steps]]`` for each step.

        Returns
        -------
        Recipe

        Raises
        ------
        ValueError
            If there is no such file, or it does not hold a recipe; names the file.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
            if Path(path).suffix.lower() == ".toml":
                return cls.from_dict(tomllib.loads(text))
            return cls.from_json(text)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{path}: not TOML: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def digest(self):
        """SHA-256 of the recipe."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


def _step(item):
    if not isinstance(item, dict) or not isinstance(item.get("step"), str):
        raise ValueError(f'recipe: a step is {{"step": name, ...}}; got {item!r}')
    values = {name: value for name, value in item.items() if name != "step"}
    factory = get_spec("step", item["step"]).load()
    known = {field.name: field for field in fields(factory)}
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ValueError(f"recipe: the step {item['step']!r} has no field {name!r}; {hint}")
    adapters = _adapters(factory)
    for name, value in values.items():
        if name in adapters:
            values[name] = _checked(value, adapters[name], f"{name!r} of the step {item['step']!r}")
    try:
        return factory(**values)
    except (TypeError, AttributeError) as error:
        # Numbers where names are wanted, and the like.
        raise ValueError(f"recipe: the step {item['step']!r} cannot be made: {error}") from error


@cache
def _adapters(factory):
    """What checks the fields of a step, as far as their annotations are types it knows."""
    adapters = {}
    # A stranger's annotation may be a name that only a type checker knows, or no type at all.
    with suppress(Exception):
        hints = get_type_hints(factory, include_extras=True)
        for field in fields(factory):
            with suppress(Exception):
                adapters[field.name] = TypeAdapter(hints[field.name])
    return adapters


def _checked(value, adapter, what):
    """The value of a field, if it is of the right type."""
    try:
        # By the rules of JSON a list may stand for a tuple and 1 for 1.0, but not "no" for false.
        valid = adapter.validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False)
        # Of several types that a value may have it is most like the one it failed deepest in.
        depth = max(len(one["loc"]) for one in wrong)
        wrong = [one for one in wrong if len(one["loc"]) == depth]
        kinds = [_EXPECTED.get(w["type"], w["msg"].removeprefix("Input should be ")) for w in wrong]
        expected = " or ".join(dict.fromkeys(kinds))
        part = wrong[0]["input"]
        if part == value:
            message = f"recipe: {what} must be {expected}; got {value!r}"
        else:
            message = f"recipe: {part!r} in {what} must be {expected}"
        raise ValueError(message) from error
    # As it was written otherwise: the digest of a stored recipe must not change.
    return tuple(value) if isinstance(value, list) and isinstance(valid, tuple) else value
