"""A saved model: a folder of data, ``config.json`` and one ``.weights.h5`` per network part.

Nothing in it is code or a pickle. The configuration carries a hash of every file and of itself.
"""

import hashlib
import json
from pathlib import Path

from ..jobs import atomic_folder

__all__ = ["read_config", "read_model", "write_model"]

_FORMAT = "astro_deepgalaxy model"
_VERSION = 2


def write_model(folder, config, network):
    """Write a model folder, whole or not at all.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        The folder; a model that stands there is replaced, anything else is refused.
    config : dict
        JSON data to keep.
    network : GalaxyNetwork
        Network with its weights.

    Returns
    -------
    str
        SHA-256 of the model: of its configuration, which holds the hash of each weight file.

    Raises
    ------
    ValueError
        If `folder` exists and is not a model.
    """
    folder = Path(folder)
    if folder.exists() and not _looks_like_model(folder):
        raise ValueError(f"{folder}: exists and is not a model folder; choose another name")
    with atomic_folder(folder) as partial:
        network.save_weights(partial)
        config = config | {
            "format": _FORMAT,
            "version": _VERSION,
            "network": network.config.to_dict(),
            "files": {path.name: _sha256(path) for path in sorted(partial.glob("*.weights.h5"))},
        }
        config["digest"] = _digest(config)
        text = json.dumps(config, indent=1, sort_keys=True) + "\n"
        (partial / "config.json").write_text(text, encoding="utf-8")
    return config["digest"]


def read_config(folder):
    """Read the configuration in a model folder after checking that it was not changed.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where `write_model` wrote.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is none, it does not match its hash, or is of another layout.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{folder}: not a model folder, it has no config.json") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder / 'config.json'}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != _FORMAT:
        raise ValueError(f"{folder / 'config.json'}: not the configuration of a model")
    if config.get("version") != _VERSION:
        raise ValueError(
            f"{folder / 'config.json'}: has the layout {config.get('version')!r}; this package "
            f"reads layout {_VERSION}"
        )
    if config.get("digest") != _digest(config):
        raise ValueError(
            f"{folder / 'config.json'}: does not match its own hash: it was changed after the "
            "model was saved; get a fresh copy of the model"
        )
    return config


def read_model(folder):
    """Read a model folder after checking that nothing in it was changed.

    Parameters
    ----------
    folder : str or `~pathlib.Path`
        Where `write_model` wrote.

    Returns
    -------
    config : dict
        The configuration.
    network : GalaxyNetwork
        Network with its weights.

    Raises
    ------
    ValueError
        If a file is missing, does not match its hash, or is of a newer layout.
    """
    from ..network import GalaxyNetwork, NetworkConfig

    folder = Path(folder)
    config = read_config(folder)
    network = GalaxyNetwork(NetworkConfig.from_dict(config["network"]).untrained())
    if set(config["files"]) != {f"{part}.weights.h5" for part in network.parts}:
        raise ValueError(f"{folder / 'config.json'}: names other weight files than the network's")
    for name, expected in config["files"].items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: the weight file is missing; get a fresh copy of the model")
        if _sha256(path) != expected:
            raise ValueError(
                f"{path}: does not match the hash in config.json: it is damaged or was changed; "
                "get a fresh copy of the model"
            )
    network.load_weights(folder)
    return config, network


def _looks_like_model(folder):
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("format") == _FORMAT


def _digest(config):
    text = json.dumps({k: v for k, v in config.items() if k != "digest"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
