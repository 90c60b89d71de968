"""The receptors of the cells of one dataset or query, from where the sheet and the configuration say."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text
from refatlas.io.count_file import CountFile
from refatlas.receptors.airr_files import KEY, core_of, read_chains, read_stored_chains
from refatlas.receptors.sequences import BROKEN, receptor_table, require_sequences

# What R, pandas and programs write for a missing sequence or gene.
MISSING = ("", "NA", "N/A", "nan", "NaN", "None", "none", "NULL", "<NA>")
# Between the chains of one kind of a cell, the primary one first.
BETWEEN_CHAINS = ";"
# Of the same sample, a larger share of the barcodes or of the cells is in both. By chance, 5,000 cells of two samples
# share 1 % of the 737,280 barcodes of 10x.
LEAST_SHARED = 0.05


def read_receptors(
    cells: pd.DataFrame,
    given: Mapping[str, str] | None,
    settings: Mapping[str, Any],
    open_file: Callable[[], CountFile],
    where: str,
) -> pd.DataFrame:
    """Return the table of receptors of some cells (see `refatlas.receptors.sequences`).

    Args:
        cells: of cells.parquet: barcode and batch, indexed by cell.
        given: tables of chains by the batch that they are of, "" for all batches; {} for cells without receptors; None
            if the sheet names none.
        settings: names of cell columns: alpha, beta, alpha_v and beta_v.
        open_file: opens the file of the counts.
        where: the sheet's row, for messages.

    Raises:
        InputError: there is no such table, column or cell, or it holds something else.
    """
    if given == {}:
        return receptor_table(_no_chains(cells.index))
    if given:
        chains = _of_tables(cells, given, where)
    elif settings["alpha"]:
        chains = _of_columns(open_file(), settings, cells)
    else:
        chains = _stored(open_file(), cells, where)
    if chains[["alpha", "beta"]].isna().all(axis=None):
        raise InputError(f"{where}: no cell has a CDR3; write '-' as airr if its cells have no receptors")
    return receptor_table(chains.reindex(cells.index))


def _no_chains(index: pd.Index) -> pd.DataFrame:
    names = ("alpha", "beta", "alpha_v", "beta_v", "n_alpha", "n_beta", "other_chains")
    return pd.DataFrame(None, index=index, columns=list(names), dtype=object)


def _of_tables(cells: pd.DataFrame, given: Mapping[str, str], where: str) -> pd.DataFrame:
    """Return the chains of cells by tables, each of all cells or of one batch."""
    # Batches are named NAME:BATCH in the results.
    batches = cells["batch"].str.split(":", n=1).str[1]
    if unknown := [batch for batch in given if batch and batch not in set(batches)]:
        raise InputError(
            f"{where}: airr names batch {unknown[0]!r}, and the batches are {listed(sorted(batches.unique()), 20)};"
            " write BATCH=PATH with a batch of the file"
        )
    parts = []
    for batch, path in given.items():
        own = cells if not batch else cells[batches == batch]
        parts.append(_matched(read_chains(path, where), own, path, where))
    return pd.concat(parts)


def _matched(chains: pd.DataFrame, cells: pd.DataFrame, path: str, where: str) -> pd.DataFrame:
    """Return the chains of a table, indexed by cell; barcodes are the same, or the same but for prefix and suffix."""
    barcodes = pd.Series(cells.index, index=cells["barcode"].astype(str))
    same = chains.index.isin(barcodes.index)
    if not same.any():
        barcodes, chains = _by_core(barcodes, chains, cells, path, where)
        same = chains.index.isin(barcodes.index)
    if same.mean() < LEAST_SHARED and same.sum() < LEAST_SHARED * len(cells):
        raise InputError(
            f"{where}: {int(same.sum()):,} of the {len(chains):,} barcodes of {path} are among the {len(cells):,}"
            " cells, as many as two samples share by chance; name the table of the same sample (BATCH=PATH, if it is of"
            " another batch)"
        )
    print(
        f"{path}: {int(same.sum()):,} of {len(chains):,} barcodes are among the {len(cells):,} cells; the others are"
        " not used"
    )
    return chains[same].set_axis(barcodes.loc[chains.index[same]].to_numpy(), axis=0)


def _by_core(
    barcodes: pd.Series, chains: pd.DataFrame, cells: pd.DataFrame, path: str, where: str
) -> tuple[pd.Series, pd.DataFrame]:
    """Return names of cells and chains by the nucleotides of their barcodes alone, within one batch."""
    names, own = barcodes.index, chains.index
    short, theirs = names.map(core_of), own.map(core_of)
    shared = theirs.isin(short)
    named = f"{where}: no barcode of {path} ({listed(own, 3)}) is a cell of the counts ({listed(names, 3)})"
    if not shared.any():
        raise InputError(f"{named}, nor is its sequence of nucleotides; name the table of the same cells")
    if len(cells["batch"].unique()) > 1:
        raise InputError(
            f"{named}; {int(shared.sum()):,} barcodes are the same up to prefix and suffix, but there are several"
            " batches, and each may have a barcode: name the table of each batch, as BATCH=PATH, separated by commas"
        )
    for found, place in ((short, "the counts"), (theirs, path)):
        if found.has_duplicates:
            raise InputError(
                f"{named}; without prefix and suffix, {found[found.duplicated()][0]!r} occurs twice in {place}: name"
                " the table of each batch, as BATCH=PATH, separated by commas"
            )
    print(f"{path}: barcodes are matched without their prefixes and suffixes")
    return barcodes.set_axis(short), chains.set_axis(theirs, axis=0)


def _of_columns(file: CountFile, settings: Mapping[str, Any], cells: pd.DataFrame) -> pd.DataFrame:
    """Return the chains of cells by cell columns."""
    columns = {kind: settings[kind] for kind in ("alpha", "beta", "alpha_v", "beta_v") if settings[kind]}
    for kind, column in columns.items():
        if column not in file.cells:
            raise InputError(
                f"config: receptors: {kind}: {file.path} has no cell column {column!r}; it has"
                f" {listed(file.cells.columns, 20)}; correct the name, write the column into the file or into the table"
                " that metadata of the sheet names, or name a table of chains (or '-' for none) as airr in the sheet"
            )
    stored = file.cells.loc[cells["barcode"].to_numpy()].set_axis(cells.index, axis=0)
    found = _no_chains(cells.index)
    for kind, gene in (("alpha", "alpha_v"), ("beta", "beta_v")):
        where = f"config: receptors: {kind}: column {columns[kind]!r} of {file.path}"
        listed_chains = [_split(value) for value in stored[columns[kind]]]
        whole = pd.Series(
            [[place for place, s in enumerate(c) if s and not BROKEN.search(s)] for c in listed_chains], dtype=object
        )
        found[f"n_{kind}"] = whole.map(len).to_numpy()
        found[kind] = [chains[at[0]] if at else None for chains, at in zip(listed_chains, whole, strict=True)]
        require_sequences(found[kind].dropna(), where)
        if gene in columns:
            genes = [_split(value) for value in stored[columns[gene]]]
            found[gene] = [
                g[at[0]] or None if at and len(g) > at[0] else None for g, at in zip(genes, whole, strict=True)
            ]
    found["other_chains"] = False
    return found


def _split(value: object) -> list[str]:
    """Return the chains in a value of a cell column, the primary one first, "" in the place of a missing one."""
    parts = [part.strip() for part in as_text(value).split(BETWEEN_CHAINS)]
    return ["" if part in MISSING else part for part in parts]


def _stored(file: CountFile, cells: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the chains of cells that scirpy has stored in the file."""
    import h5py

    if KEY not in file.spaces or not h5py.is_hdf5(file.path):
        raise InputError(
            f"{where}: {file.path} has no chains: receptors of the config name no cell columns (alpha and beta), the"
            f" sheet names no table as airr, and there is no {KEY!r} in obsm of an h5ad file, as scirpy writes it; give"
            " one of the three, or write '-' as airr if its cells have no receptors"
        )
    chains = read_stored_chains(file.path, where)
    return chains.reindex(cells["barcode"].astype(str)).set_axis(cells.index, axis=0)
