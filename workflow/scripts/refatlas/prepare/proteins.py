"""Proteins measured beside the RNA (CITE-seq): their counts checked, and proteins of different
files made comparable by name.

A batch that did not measure a protein has zeros in its place, as totalVI expects it (Gayoso 2021).
"""

import re

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile

# Tags that makers of antibodies add to the name of the same protein.
SUFFIX = re.compile(r"[ _.-]?totalseq[ _.-]?[abcd]?$")


def read_proteins(file: CountFile, row: dict, batches: np.ndarray) -> pd.DataFrame:
    """Return the counts of proteins of a file's cells, float32, one column a protein; no columns
    where the file has none.

    Cells without a value (NaN, or absent from an h5mu's modality) get zeros if all cells of their
    batch are without: it did not measure the protein.

    Args:
        row: of a sheet, with protein_key and protein_is_default: a key that comes from the config
            may be absent. batches: of each cell.

    Raises:
        InputError: the key is absent, a protein's name stands twice, or values are no counts, or
            missing in a part of a batch.
    """
    key, cells = row["protein_key"], file.cells.index
    if key is None:
        return pd.DataFrame(index=cells)
    if key not in file.proteins:
        if row["protein_is_default"]:
            file.notes.append(f"proteins: no {key!r} in the file, so none")
            return pd.DataFrame(index=cells)
        raise InputError(
            f"{file.path}: no proteins {key!r}; the file has {listed(file.proteins, 20)}; set protein_key in the sheet"
            " to one of them, or '-' for no proteins"
        )
    table = file.read_proteins(key)
    where = f"{file.path}: proteins {key!r}"
    _require_names(table, where)
    if len(table) != len(cells) or not table.index.equals(cells):
        if not table.index.isin(cells).any():
            raise InputError(
                f"{where}: its cells ({listed(table.index, 2)}) are none of the RNA's ({listed(cells, 2)}); give both"
                " the same names"
            )
        table = table.reindex(cells)
    file.notes.append(f"proteins: {table.shape[1]} in {key!r} ({listed(table.columns)})")
    return checked(table, batches, where)


def _require_names(table: pd.DataFrame, where: str) -> None:
    for kind, names in (("cell", table.index), ("protein", table.columns)):
        if names.has_duplicates:
            raise InputError(f"{where}: {kind} {names[names.duplicated()][0]!r} stands twice; names must be unique")
    if table.shape[1] == 0:
        raise InputError(f"{where} has no columns; name the proteins' counts, or '-' for no proteins")


def checked(table: pd.DataFrame, batches: np.ndarray, where: str) -> pd.DataFrame:
    """Return a table of counts as float32, with zeros for the missing values of batches that have
    no other.

    Raises:
        InputError: a value is negative, fractional or infinite, or missing in some cells of a batch
            only.
    """
    try:
        values = table.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{where} does not hold numbers ({error}); name the raw counts of proteins as protein_key"
        ) from error
    missing = np.isnan(values)
    share = pd.DataFrame(missing, index=table.index, columns=table.columns).groupby(np.asarray(batches)).mean()
    partly = (share > 0) & (share < 1)
    if partly.any(axis=None):
        batch, protein = partly.stack().idxmax()
        raise InputError(
            f"{where}: {share.loc[batch, protein]:.0%} of the cells of batch {batch} have no value of protein"
            f" {protein!r} (NaN, or not in the modality); a batch measures a protein in all of its cells or in none:"
            " leave these cells out"
        )
    kinds = {
        "infinite": np.isinf(values),
        "negative": values < 0,
        "not an integer": ~missing & (values != np.rint(values)),
    }
    for kind, wrong in kinds.items():
        if wrong.any():
            cell, protein = np.argwhere(wrong)[0]
            raise InputError(
                f"{where} does not hold raw counts: {values[cell, protein]:g} is {kind} (cell {table.index[cell]!r},"
                f" protein {table.columns[protein]!r}; {int(wrong.sum())} such values); the values seem to be"
                " normalised: name the raw counts as protein_key"
            )
    return pd.DataFrame(
        np.where(missing, 0, values).astype(np.float32), index=table.index, columns=table.columns.astype(str)
    )


def plain(name: str) -> str:
    """Return a protein's name without case and without a TotalSeq tag."""
    return SUFFIX.sub("", name.casefold())


def match_proteins(names, known) -> np.ndarray:
    """Return for each name the place of the same protein in `known`, or -1: an equal name first,
    then one that differs by case or TotalSeq tag alone.

    A name that fits several others in this second way stays unmatched.
    """
    places = pd.Index(known).get_indexer(pd.Index(names))
    free = pd.Series({place: plain(name) for place, name in enumerate(known) if place not in places}, dtype=object)
    rest = pd.Series({i: plain(name) for i, name in enumerate(names) if places[i] < 0}, dtype=object)
    by_name = pd.Series(free.index, index=free.to_numpy())[~free.duplicated(keep=False).to_numpy()]
    for i, name in rest[~rest.duplicated(keep=False)].items():
        places[i] = by_name.get(name, -1)
    return places


def align(table: pd.DataFrame, known: list[str]) -> pd.DataFrame:
    """Return cells × the known proteins in their order; zeros for those that the table lacks."""
    places = match_proteins(list(table.columns), known)
    values = np.zeros((len(table), len(known)), dtype=np.float32)
    values[:, places[places >= 0]] = table.to_numpy()[:, places >= 0]
    return pd.DataFrame(values, index=table.index, columns=known)


def unite(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the proteins of all tables' cells together, named as in the first table that has them."""
    known: list[str] = []
    named = []
    for table in tables:
        places = match_proteins(list(table.columns), known)
        named.append(
            table.set_axis(
                [known[place] if place >= 0 else name for place, name in zip(places, table.columns, strict=True)],
                axis=1,
            )
        )
        known += [name for place, name in zip(places, table.columns, strict=True) if place < 0]
    return pd.concat([table.reindex(columns=known, fill_value=np.float32(0)) for table in named])


def wanted_proteins(table: pd.DataFrame, pretrained: dict[str, list[str]]) -> pd.DataFrame:
    """Return the proteins that models see: those with a count in any cell, or those of the models
    made elsewhere, in their order.

    Args:
        pretrained: the proteins of each model made elsewhere that has some.

    Raises:
        InputError: two such models have other proteins, or the reference lacks one.
    """
    if not pretrained:
        return table.loc[:, (table > 0).any()]
    (first, names), *others = pretrained.items()
    for other, theirs in others:
        if theirs != names:
            raise InputError(
                f"config: models: {first} and {other} are pretrained on different proteins ({len(names)} and"
                f" {len(theirs)}, in order); run them apart"
            )
    missing = [name for name, place in zip(names, match_proteins(names, list(table.columns)), strict=True) if place < 0]
    if missing:
        raise InputError(
            f"config: models: {first}: pretrained: {len(missing)} of its {len(names)} proteins are in no dataset of the"
            f" reference: {listed(missing)}; set protein_key in the reference's sheet"
        )
    return align(table, names)


def describe_match(names: list[str], known: list[str]) -> str:
    """Return in words which of the known proteins a file measured."""
    places = match_proteins(names, known)
    renamed = [
        f"{name} as {known[place]}"
        for name, place in zip(names, places, strict=True)
        if place >= 0 and name != known[place]
    ]
    lacking = [protein for i, protein in enumerate(known) if i not in places]
    unknown = [name for name, place in zip(names, places, strict=True) if place < 0]
    parts = [f"{len(known) - len(lacking)} of the reference's {len(known)} proteins measured"]
    parts += [
        f"{what}: {listed(found, 30)}"
        for what, found in (
            ("taken by name", renamed),
            ("to be imputed", lacking),
            ("unknown to the reference", unknown),
        )
        if found
    ]
    return "; ".join(parts)
