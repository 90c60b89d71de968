"""Raw counts in h5ad, h5mu and zarr: their tables of cells and genes, and the proteins beside them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile
from refatlas.io.count_places import choose_place
from refatlas.io.feature_kinds import kind_column, rna_names, split_features
from refatlas.io.hdf5_reader import require_filters
from refatlas.io.legacy_anndata import read_element, read_table, table_length

# Between the name of a modality and of its column in a MuData's table of cells.
PREFIX = ":"


def open_anndata(group: Any, path: str, layer: str | None, counts_only: bool, genome: str | None = None) -> CountFile:
    """Return the counts of an AnnData in an open file.

    Args:
        group: of h5py or zarr, with X, layers, raw, obs and var.
        path, layer, counts_only, genome: as of `open_counts`.

    Raises:
        InputError: there are no counts, nothing decides which are, or the tables do not fit them.
    """
    for name in ("obs", "var"):
        if name not in group:
            raise InputError(f"{path}: no table {name!r} in the file; it has {listed(group)}; give a complete AnnData")
    require_filters(group, path, ("obs", "var", "X", "raw", "layers"))
    tables = _GeneTables(group, path)
    choice = choose_place(group, path, layer, table_length(group["obs"]), lambda place: tables.of(place).index)
    rows, genes = choice.rows, tables.of(choice.location)
    n_cells = rows.shape[0] if counts_only else table_length(group["obs"])
    if rows.shape != (n_cells, len(genes)):
        raise InputError(
            f"{path}: {choice.location} is {rows.shape[0]} × {rows.shape[1]}, but the file names {n_cells} cells and"
            f" {len(genes)} genes"
        )
    cells = pd.DataFrame(index=pd.RangeIndex(n_cells)) if counts_only else read_table(group, "obs", path)
    proteins: dict[str, Callable[[], pd.DataFrame]] = {
        key: partial(_obsm_table, group, path, key, cells.index) for key in group.get("obsm", ())
    }
    spaces: dict[str, Callable[[], np.ndarray]] = {key: partial(_space, group, key) for key in group.get("obsm", ())}
    names: dict[str, Callable[[], list[str] | None]] = {key: partial(_space_names, group, key) for key in spaces}
    notes = [*choice.notes, *tables.notes(choice.location)]
    file = CountFile(path, choice.location, cells, genes, rows, notes, proteins, choice.places, spaces, names)
    return split_features(file, kind_column(genes), genes.index, genome)


class _GeneTables:
    """The tables of genes of a file, each read once."""

    def __init__(self, group: Any, path: str) -> None:
        self.group, self.path = group, path
        self.known, self.said = dict[str, pd.DataFrame](), dict[str, list[str]]()

    def of(self, location: str) -> pd.DataFrame:
        """Return the genes of a place; raw has its own, unless it stores none."""
        name = self._name(location)
        if name not in self.known:
            table = read_table(self.group, name, self.path)
            if name == "var":
                self.known[name], self.said[name] = table, []
            else:
                self.known[name], self.said[name] = _with_texts_of(self.of("X"), table)
        return self.known[name]

    def notes(self, location: str) -> list[str]:
        """Return what is to be said of the genes of a place."""
        return self.said[self._name(location)]

    def _name(self, location: str) -> str:
        stored = [name for name in ("raw/var", "raw.var") if location == "raw/X" and name in self.group]
        return (stored or ["var"])[0]


def _with_texts_of(var: pd.DataFrame, own: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the genes of raw with the columns of text that only var has, such as symbols; and notes.

    They are joined by the genes' names, if var has all of them. Numbers and truth values speak of X.
    """
    texts = [name for name in var.columns.difference(own.columns, sort=False) if _is_text(var[name])]
    if not texts or var.index.has_duplicates or own.index.has_duplicates:
        return own, []
    n_known = int(own.index.isin(var.index).sum())
    if n_known < len(own):
        return own, [
            f"genes: {listed(texts)} of var is not read for the counts in raw, because var lacks"
            f" {len(own) - n_known:,} of its {len(own):,} genes; write it into raw.var for all genes"
        ]
    return own.join(var[texts]), [f"genes: {listed(texts)} of the counts in raw taken from var, by the genes' names"]


def _is_text(column: pd.Series) -> bool:
    return column.dtype.kind in "OUTS" or isinstance(column.dtype, pd.CategoricalDtype | pd.StringDtype)


def open_mudata(file: Any, path: str, layer: str | None, counts_only: bool, genome: str | None = None) -> CountFile:
    """Return the RNA of an open h5mu.

    Cell columns of the MuData are added to the RNA's own, with and without the name of the
    modality before them. Every other modality may be named as proteins.

    Raises:
        InputError: there is no modality of RNA, or several, or as of `open_anndata`.
    """
    rna = _rna_modality(file["mod"], path)
    found = open_anndata(file["mod"][rna], path, layer, counts_only, genome)
    found.location = f"mod/{rna}/{found.location}"
    found.notes[0] = f"{found.notes[0]} (modality {rna!r})"
    if "obs" in file and not counts_only:
        found.cells = _with_shared(found.cells, read_table(file, "obs", path), rna, path)
    found.proteins |= {
        key: partial(_modality_table, file["mod"][key], path)
        for key in file["mod"]
        if key != rna and "X" in file["mod"][key]
    }
    return found


def _rna_modality(modalities: Any, path: str) -> str:
    """Return the name of the modality of RNA, in any usual spelling."""
    names = list(modalities)
    found = rna_names(names) or [name for name in names if _parts_of_name(name) & {"rna", "gex", "gene", "genes"}]
    if "rna" in found:
        return "rna"
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{path}: modalities {listed(found)} may all hold RNA; name the one to read 'rna', or give it as an h5ad"
        )
    raise InputError(
        f"{path}: no modality 'rna' in the file; it has {listed(names)}; rename the one that holds the counts of RNA"
    )


def _parts_of_name(name: str) -> set[str]:
    return set("".join(c if c.isalnum() else " " for c in name.casefold()).split())


def _with_shared(cells: pd.DataFrame, shared: pd.DataFrame, rna: str, path: str) -> pd.DataFrame:
    """Return a modality's cells with the columns of the MuData's own table."""
    if shared.index.has_duplicates or cells.index.has_duplicates:
        raise InputError(f"{path}: names of cells are not unique in the MuData's table obs; make them unique")
    own = {name: name.removeprefix(f"{rna}{PREFIX}") for name in map(str, shared.columns)}
    bare = shared[[name for name in own if own[name] != name and own[name] not in {*cells.columns, *shared.columns}]]
    added = pd.concat([shared[shared.columns.difference(cells.columns, sort=False)], bare.rename(columns=own)], axis=1)
    return cells.join(added)


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def _space(group: Any, key: str) -> np.ndarray:
    """Return an obsm as an array."""
    stored = read_element(group["obsm"][key])
    return stored.to_numpy() if isinstance(stored, pd.DataFrame) else _dense(stored)


def _space_names(group: Any, key: str) -> list[str] | None:
    """Return the names of the columns of an obsm: its own as a data frame, or those in uns; None without any."""
    stored = read_element(group["obsm"][key])
    if isinstance(stored, pd.DataFrame):
        return [str(name) for name in stored.columns]
    uns = group.get("uns", {})
    found = [read_element(uns[name]) for name in (f"{key}_names", f"{key}_columns") if name in uns]
    return [str(name) for name in found[0]] if found and np.ndim(found[0]) == 1 else None


def _obsm_table(group: Any, path: str, key: str, cells: pd.Index) -> pd.DataFrame:
    """Return an obsm with names of columns; those of a plain array are looked for in uns."""
    stored = read_element(group["obsm"][key])
    if isinstance(stored, pd.DataFrame):
        return stored.set_axis(cells)
    values = _dense(stored)
    uns = group.get("uns", {})
    usual = (f"{key}_names", f"{key}_columns", "protein_names", "proteins", "adt_names")
    named = [read_element(uns[name]) for name in usual if name in uns]
    fitting = [names for names in named if np.ndim(names) == 1 and values.ndim == 2 and len(names) == values.shape[1]]
    if not fitting:
        raise InputError(
            f"{path}: obsm {key!r} of shape {values.shape} has no names of proteins; make it a data frame, or put their"
            f" names into uns[{usual[0]!r}] (uns has {listed(uns, 20)})"
        )
    return pd.DataFrame(values, index=cells, columns=[str(name) for name in fitting[0]])


def _modality_table(group: Any, path: str) -> pd.DataFrame:
    """Return a modality's X, whose cells may differ from the RNA's."""
    cells, columns = (read_table(group, name, path).index for name in ("obs", "var"))
    return pd.DataFrame(_dense(read_element(group["X"])), index=cells, columns=columns)
