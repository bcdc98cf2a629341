"""TOML files that are checked on reading; every error is a sentence that names the key."""

import difflib
import tomllib
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Section", "checked", "parse_toml", "read_toml"]


class Section(BaseModel):
    """A table of a TOML file; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_toml(path, model):
    """Read and check a TOML file.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        The file.
    model : type
        Subclass of `Section` that describes it.

    Returns
    -------
    Section
        An instance of `model`.

    Raises
    ------
    ValueError
        If the file is not TOML, a key is unknown (the nearest known one is named), or a value
        is out of range.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as TOML: {error}") from error
    return parse_toml(text, model, path)


def parse_toml(text, model, name):
    """Check the text of a TOML file.

    Parameters
    ----------
    text : str
        Content of the file.
    model : type
        As in `read_toml`.
    name : str or `~pathlib.Path`
        What error messages call the file.

    Returns
    -------
    Section
        An instance of `model`.

    Raises
    ------
    ValueError
        As `read_toml`.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name}: cannot be read as TOML: {error}") from error
    return checked(data, model, name)


def checked(data, model, name):
    """Check what was read from a file or given by a user.

    Parameters
    ----------
    data : dict
        Values by their keys.
    model : type
        As in `read_toml`.
    name : str or `~pathlib.Path`
        What error messages call it.

    Returns
    -------
    Section
        An instance of `model`.

    Raises
    ------
    ValueError
        If a key is unknown or a value is out of range.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Of several complaints about a value, the first says enough.
        sentences = {_key(e, model): _sentence(e, model) for e in reversed(error.errors())}
        raise ValueError(f"{name}: " + "; ".join(reversed(sentences.values()))) from error


def _section(model, part):
    """The model behind a key, if it is a section or may be one."""
    field = model.model_fields.get(part)
    return None if field is None else next(_models(field.annotation), None)


def _models(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _key(error, model):
    """Key of a value, without what pydantic adds to tell the types of a union apart."""
    parts = []
    for part in error["loc"]:
        if isinstance(part, int):
            parts[-1] += f"[{part + 1}]"
        elif model is not None and part in model.model_fields:
            parts.append(part)
            model = _section(model, part)
    if error["type"] == "extra_forbidden":
        parts.append(error["loc"][-1])
    return ".".join(parts)


def _sentence(error, model):
    key = _key(error, model)
    if error["type"] == "extra_forbidden":
        *sections, last = [part for part in error["loc"] if isinstance(part, str)]
        for part in sections:
            model = _section(model, part) or model
        near = difflib.get_close_matches(last, model.model_fields, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {list(model.model_fields)}"
        return f"unknown key {key!r}; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"the key {key!r} is missing"
    return f"{key}: {message}" if key else message
