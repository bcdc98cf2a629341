"""TOML files that are checked on reading; every error is a sentence that names the key."""

import difflib
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Section", "parse_toml", "read_toml"]


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
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Of a value that fits none of several types, the first complaint says enough.
        sentences = {_key(e["loc"], model): _sentence(e, model) for e in reversed(error.errors())}
        raise ValueError(f"{name}: " + "; ".join(reversed(sentences.values()))) from error


def _section(model, part):
    """The model behind a key, if it is a section or a list of sections."""
    annotation = model.model_fields[part].annotation if part in model.model_fields else None
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _key(where, model):
    """Key of a value, without what pydantic adds to tell the types of a union apart."""
    parts = []
    for part in where:
        if isinstance(part, int):
            parts[-1] += f"[{part + 1}]"
        elif model is None:
            break
        else:
            parts.append(str(part))
            model = _section(model, part)
    return ".".join(parts)


def _sentence(error, model):
    key = _key(error["loc"], model)
    if error["type"] == "extra_forbidden":
        *sections, last = [part for part in error["loc"] if isinstance(part, str)]
        for part in sections:
            model = _section(model, part) or model
        key = key or last
        near = difflib.get_close_matches(last, model.model_fields, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {list(model.model_fields)}"
        return f"unknown key {key!r}; {hint}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"the key {key!r} is missing"
    return f"{key}: {message}" if key and error["type"] != "value_error" else message
