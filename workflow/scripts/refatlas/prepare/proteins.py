"""Proteins measured beside the RNA (CITE-seq): counts checked, names of different files matched.

A batch that did not measure a protein has zeros for it, as totalVI expects (Gayoso 2021).
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.prepare.protein_names import likely_names, read_protein_names, rename_proteins, require_matched

# Tags that manufacturers of antibodies append to the name of a protein.
SUFFIX = re.compile(r"[ _.-]?totalseq[ _.-]?[abcd]?$")


def read_proteins(file: CountFile, row: dict, batches: np.ndarray) -> pd.DataFrame:
    """Return the protein counts of a file's cells, float32, with one column per protein.

    No columns if the file has no proteins. Cells without a value (NaN, or not in the modality of an
    h5mu) get zeros if no cell of their batch has one: then the batch did not measure the protein.

    Args:
        file: a note on its proteins is added.
        row: of the sheet, with protein_key and protein_is_default: a key that comes from the config
            may be absent.
        batches: of each cell.

    Raises:
        InputError: the key is absent, a name is not unique, protein_names fits no protein, or values are no counts or
            are missing in some cells of a batch.
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
                f"{where}: none of its cells ({listed(table.index, 2)}) is a cell of the RNA ({listed(cells, 2)});"
                " give both the same names"
            )
        table = table.reindex(cells)
    file.notes.append(f"proteins: {table.shape[1]} in {key!r} ({listed(table.columns)})")
    if row.get("protein_names"):
        table = _renamed(table, row["protein_names"], where, file.notes)
    return checked_counts(table, batches, where)


def _renamed(table: pd.DataFrame, path: str, where: str, notes: list[str]) -> pd.DataFrame:
    """Return proteins with the names of a table; say which were renamed."""
    before = list(table.columns.astype(str))
    after = rename_proteins(before, read_protein_names(path, f"{where}: protein_names"), where)
    pairs = [f"{old} as {new}" for old, new in zip(before, after, strict=True) if old != new]
    notes.append(f"proteins: {len(pairs)} named by {path} ({listed(pairs, 30)})")
    return table.set_axis(after, axis=1)


def _require_names(table: pd.DataFrame, where: str) -> None:
    for kind, names in (("cell", table.index), ("protein", table.columns)):
        if names.has_duplicates:
            raise InputError(f"{where}: {kind} {names[names.duplicated()][0]!r} occurs twice; names must be unique")
    if table.shape[1] == 0:
        raise InputError(f"{where} has no columns; set protein_key to the proteins' counts, or '-' for no proteins")


def checked_counts(table: pd.DataFrame, batches: np.ndarray, where: str) -> pd.DataFrame:
    """Return protein counts as float32, with zeros for proteins that a batch did not measure.

    Args:
        table: counts, cells × proteins, which may be missing.
        batches: of each cell.
        where: file and table, for the message.

    Raises:
        InputError: a value is negative, fractional or infinite, or missing in only some cells of a
            batch.
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
        row, column = np.argwhere(partly.to_numpy())[0]
        batch, protein = partly.index[row], partly.columns[column]
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


def normalized_name(name: str) -> str:
    """Return a protein's name in lower case and without a TotalSeq tag."""
    return SUFFIX.sub("", name.casefold())


def match_proteins(names: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Return for each name the index of the same protein in `known`, or -1.

    Equal names are matched first, then names that differ only by case or TotalSeq tag. A name that
    fits several others in this second way stays unmatched.
    """
    places = pd.Index(known).get_indexer(pd.Index(names))
    free = pd.Series(
        {place: normalized_name(name) for place, name in enumerate(known) if place not in places}, dtype=object
    )
    rest = pd.Series({i: normalized_name(name) for i, name in enumerate(names) if places[i] < 0}, dtype=object)
    by_name = pd.Series(free.index, index=free.to_numpy())[~free.duplicated(keep=False).to_numpy()]
    for i, name in rest[~rest.duplicated(keep=False)].items():
        places[i] = by_name.get(name, -1)
    return places


def align_proteins(table: pd.DataFrame, known: list[str]) -> pd.DataFrame:
    """Return cells × known proteins, in their order, with zeros for those that the table lacks."""
    places = match_proteins(list(table.columns), known)
    values = np.zeros((len(table), len(known)), dtype=np.float32)
    values[:, places[places >= 0]] = table.to_numpy()[:, places >= 0]
    return pd.DataFrame(values, index=table.index, columns=known)


def merge_proteins(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the proteins of the cells of all tables, named as in the first table that has them."""
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


def select_proteins(table: pd.DataFrame, pretrained: dict[str, list[str]]) -> pd.DataFrame:
    """Return the proteins that models see: those of pretrained models, else those with any count.

    Args:
        table: protein counts of the reference's cells.
        pretrained: proteins of each pretrained model that has some, in its order.

    Raises:
        InputError: two pretrained models have different proteins, or the reference lacks one.
    """
    if not pretrained:
        return table.loc[:, (table > 0).any()]
    (first, names), *others = pretrained.items()
    for other, other_names in others:
        if other_names != names:
            raise InputError(
                f"config: models: {first} and {other} are pretrained on different proteins ({len(names)} and"
                f" {len(other_names)}, or in another order); use them in separate runs"
            )
    missing = [name for name, place in zip(names, match_proteins(names, list(table.columns)), strict=True) if place < 0]
    if missing:
        raise InputError(
            f"config: models: {first}: pretrained: {len(missing)} of its {len(names)} proteins are in no dataset of the"
            f" reference: {listed(missing)}; set protein_key in the reference's sheet"
        )
    return align_proteins(table, names)


def describe_protein_match(names: list[str], known: list[str]) -> str:
    """Return a sentence on which of the reference's proteins a file measured.

    Args:
        names: the file's proteins.
        known: the reference's proteins.
    """
    places = match_proteins(names, known)
    renamed = [
        f"{name} as {known[place]}"
        for name, place in zip(names, places, strict=True)
        if place >= 0 and name != known[place]
    ]
    lacking = [protein for i, protein in enumerate(known) if i not in places]
    unknown = [name for name, place in zip(names, places, strict=True) if place < 0]
    likely = [f"{name} may be {protein}" for name, protein in likely_names(unknown, lacking).items()]
    parts = [f"{len(known) - len(lacking)} of the reference's {len(known)} proteins measured"]
    parts += [
        f"{what}: {listed(found, 30)}"
        for what, found in (
            ("matched under another name", renamed),
            ("to be imputed", lacking),
            ("not in the reference", unknown),
            ("to use them, name in protein_names", likely),
        )
        if found
    ]
    return "; ".join(parts)


def protein_notes(where: str, names: list[str], known: list[str]) -> list[str]:
    """Return a note on which proteins of the reference a query measured; none if either has no proteins.

    Args:
        where: query and file, for the message.
        names: the query's proteins; known: the reference's.

    Raises:
        InputError: the query has proteins, and none is one of the reference's.
    """
    if not names or not known:
        return []
    require_matched(where, names, known, int((match_proteins(names, known) >= 0).sum()))
    return [f"proteins: {describe_protein_match(names, known)}"]
