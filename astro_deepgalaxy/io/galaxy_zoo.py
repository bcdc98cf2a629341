"""The published Galaxy Zoo tables as label tables of a folder of images."""

import difflib
import tomllib
import warnings
from functools import cache
from importlib import resources
from itertools import chain

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn, QTable
from astropy.utils.exceptions import AstropyUserWarning
from pydantic import Field

from ..toml_models import Section
from .tables import TableFile, exact_ids

__all__ = [
    "certain_mergers",
    "galaxy_zoo_kinds",
    "read_galaxy_zoo",
]


class _MergerRule(Section):
    yes: dict[str, float]
    signs: tuple[str, ...]
    no: float
    votes: tuple[str, ...] = ()
    min_votes: int = 0
    source: str


class _MorphologyRule(Section):
    above: float = Field(ge=0.5)
    votes: tuple[str, ...] = ()
    min_votes: int = 0
    source: str


class _Kind(Section):
    """One section of ``galaxy_zoo.toml``, which explains the keys."""

    summary: str
    source: str
    id: str
    known_by: tuple[str, ...] = ()
    ra: str = "ra"
    dec: str = "dec"
    redshift: str = "redshift"
    votes: str = ""
    fractions: dict[str, str] = Field(default_factory=dict)
    raw: tuple[str, ...] = ("",)
    debiased: tuple[str, ...] = ("",)
    warning: str = ""
    merger: _MergerRule | None = None
    morphology: _MorphologyRule | None = None


@cache
def _kinds():
    text = resources.files(__package__).joinpath("galaxy_zoo.toml").read_text("utf-8")
    return {name: _Kind.model_validate(table) for name, table in tomllib.loads(text).items()}


def galaxy_zoo_kinds():
    """The Galaxy Zoo tables that are known.

    Returns
    -------
    dict of str to str
        What each kind is.
    """
    return {name: kind.summary for name, kind in _kinds().items()}


def read_galaxy_zoo(path, kind=None, debiased=False):
    """Read a published Galaxy Zoo table as labels.

    Parameters
    ----------
    path : str or `~pathlib.Path`
        CSV (also .csv.gz), FITS, VOTable, ECSV or Parquet file.
    kind : str, optional
        One of `galaxy_zoo_kinds`. By default the one whose columns the table has.
    debiased : bool
        Use the fractions that were corrected for redshift, where the table has them, rather than
        those of what volunteers saw in the image.

    Returns
    -------
    `~astropy.table.QTable`
        A row per galaxy: ``id`` (text, exact) and ``group``, the same; ``ra`` and ``dec`` in
        degrees and ``redshift`` where the table has them; ``is_merger`` (bool, masked where the
        votes are neither for nor against); ``morphology`` (``smooth``, ``featured``,
        ``artifact``, or empty without agreement); ``n_votes``; and the shares of all volunteers
        ``merger_fraction``, ``disturbed_fraction``, ``smooth_fraction``, ``featured_fraction``
        and ``artifact_fraction``, NaN without votes. The cuts and their papers stand in
        ``galaxy_zoo.toml``; the columns that were used, in the table's meta.

    Raises
    ------
    ValueError
        If the file cannot be read, is none or several of the known tables, or its ids were
        rounded.

    Warns
    -----
    AstropyUserWarning
        If galaxies stand in more than one row; the first counts.
    """
    file = TableFile(path)
    name, kind = _recognise(file, kind)
    endings = (*kind.debiased, *kind.raw) if debiased else kind.raw
    products = {
        answer: [file.find(factor, endings) for factor in product.split(" * ")]
        for answer, product in kind.fractions.items()
    }
    texts = [file.find(key) for key in (kind.id, kind.ra, kind.dec, kind.warning)]
    numbers = [file.find(key) for key in (kind.redshift, kind.votes)]
    asked = {
        label: next(filter(None, map(file.find, rule.votes)), None)
        for label, rule in (("merger", kind.merger), ("morphology", kind.morphology))
        if rule is not None
    }
    data = file.read(texts, chain(numbers, asked.values(), *products.values()))
    (id_, ra, dec, warning), (redshift, votes) = texts, numbers

    if not len(data[id_]):
        raise ValueError(f"{path}: the table has no rows")
    table = QTable({"id": exact_ids(data[id_], f"{path}: the column {id_!r}")})
    table.meta["galaxy_zoo"] = name
    table.meta["fractions"] = {key: " * ".join(product) for key, product in products.items()}
    if ra and dec:
        table["ra"] = _degrees(data[ra], u.hourangle, f"{path}: the column {ra!r}")
        table["dec"] = _degrees(data[dec], u.deg, f"{path}: the column {dec!r}")
    if redshift:
        table["redshift"] = data[redshift]
    table["group"] = table["id"]
    fractions = {
        answer: _product([data[column] for column in product])
        for answer, product in products.items()
    }
    sound = np.ones(len(table), dtype=bool)
    if warning:
        sound = ~np.isin(np.char.lower(data[warning]), ("true", "1", "t"))
    enough = {
        # A table of predictions has no votes to count.
        label: sound & (data[column] >= getattr(kind, label).min_votes) if column else sound
        for label, column in asked.items()
    }
    table["is_merger"] = _is_merger(kind.merger, fractions, enough.get("merger", sound))
    if kind.morphology is not None:
        table["morphology"] = _morphology(kind.morphology, fractions, enough["morphology"])
    if votes:
        table["n_votes"] = np.nan_to_num(data[votes]).astype(np.int64)
    for answer, values in fractions.items():
        table[f"{answer}_fraction"] = values
    return _first_of_each(table, path)


def _recognise(file, name):
    """Name and description of the kind of a table, by its columns or as the user says."""
    kinds = _kinds()
    if name is not None and name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown kind of Galaxy Zoo table {name!r}; {hint}known are {[*kinds]}")
    lacks = {key: _lacks(file, kind) for key, kind in kinds.items() if name is None or key == name}
    fitting = [key for key, missing in lacks.items() if not missing]
    if len(fitting) == 1:
        return fitting[0], kinds[fitting[0]]
    if fitting:
        raise ValueError(f"{file.path}: has the columns of several kinds; name one of {fitting}")
    parts = "; ".join(f"{key} lacks {', '.join(missing)}" for key, missing in lacks.items())
    raise ValueError(f"{file.path}: is not a known Galaxy Zoo table: of the columns of {parts}")


def _lacks(file, kind):
    needed = dict.fromkeys((kind.id, *kind.known_by), ("",))
    for product in kind.fractions.values():
        needed |= dict.fromkeys(product.split(" * "), (*kind.raw, *kind.debiased))
    return [name + endings[0] for name, endings in needed.items() if not file.find(name, endings)]


def _degrees(texts, unit, what):
    """Positions in degrees, from decimals in degrees or sexagesimal text; NaN in gaps."""
    degrees = np.full(len(texts), np.nan)
    texts = np.char.strip(texts)
    given = texts != ""
    texts = texts[given]
    try:
        if not len(texts) or ":" not in texts[0]:
            degrees[given] = texts.astype(float)
            return degrees * u.deg
        # Parsing 667,944 angles one by one takes minutes.
        parts = np.array(":".join(texts).split(":"), dtype=float).reshape(len(texts), 3)
    except ValueError as error:
        raise ValueError(f"{what} is no position in degrees or sexagesimal text") from error
    sign = np.where(np.char.startswith(texts, "-"), -1, 1)
    degrees[given] = sign * (np.abs(parts) @ [1, 1 / 60, 1 / 3600]) * unit.to(u.deg)
    return degrees * u.deg


def _product(factors):
    """Product of fractions; a question that nobody reached has no votes and no share."""
    share = factors[0]
    for factor in factors[1:]:
        share = np.where(share == 0, 0.0, share * factor)
    return share


def _is_merger(rule, fractions, enough):
    if rule is None:
        return MaskedColumn(np.ones(len(enough), dtype=bool))
    yes = np.any([fractions[answer] > cut for answer, cut in rule.yes.items()], axis=0)
    no = np.sum([fractions[answer] for answer in rule.signs], axis=0) < rule.no
    return MaskedColumn(yes, mask=~(enough & (yes | no)))


def _morphology(rule, fractions, enough):
    answers = [answer for answer in ("smooth", "featured", "artifact") if answer in fractions]
    return np.select([enough & (fractions[a] > rule.above) for a in answers], answers, "")


def _first_of_each(table, path):
    _, first = np.unique(table["id"], return_index=True)
    if len(first) == len(table):
        return table
    again = np.setdiff1d(np.arange(len(table)), first)
    warnings.warn(
        f"{path}: {len(again)} rows are of a galaxy that has one already, such as "
        f"{table['id'][again[0]]}; the first counts",
        AstropyUserWarning,
        stacklevel=3,
    )
    return table[np.sort(first)]


def certain_mergers(table):
    """The galaxies whose votes are clearly for or against a merger.

    A file without masks, such as FITS, would make a yes or no of a masked value.

    Parameters
    ----------
    table : `~astropy.table.QTable`
        From `read_galaxy_zoo`, perhaps with images matched.

    Returns
    -------
    `~astropy.table.QTable`
        The rows where ``is_merger`` is not masked; there it is a plain column of bool.
    """
    known = table[~np.ma.getmaskarray(table["is_merger"])]
    known["is_merger"] = np.asarray(known["is_merger"], dtype=bool)
    return known
