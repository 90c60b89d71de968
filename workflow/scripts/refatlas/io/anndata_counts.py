"""Raw counts in h5ad, h5mu and zarr: where they are, and the proteins beside them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.count_file import GENES, CountFile, split_features
from refatlas.io.matrix_rows import Rows, open_matrix

RNA = "rna"
LIKELY_LAYERS = ("counts", "raw_counts", "count", "raw", "umi", "UMI", "umis")


def open_zarr(path: str, layer: str | None, counts_only: bool) -> CountFile:
    """Return the counts of an AnnData in zarr; arguments and errors as of `open_counts`."""
    import zarr

    return open_anndata(zarr.open_group(path, mode="r"), path, layer, counts_only)


def open_anndata(group: Any, path: str, layer: str | None, counts_only: bool) -> CountFile:
    """Return the counts of an AnnData in an open file.

    Args:
        group: of h5py or zarr, with X, layers, raw, obs and var.
        path, layer, counts_only: as of `open_counts`.

    Raises:
        InputError: there are no counts, or the tables do not fit them.
    """
    candidates = _locations(group)
    location, note = _choose_location(group, candidates, path, layer)
    rows = open_matrix(group[location])
    described = group["raw/var" if location == "raw/X" else "var"]
    cells = _read_table(group["obs"], None if not counts_only else rows.shape[0])
    genes = _read_table(described, None if not counts_only or "feature_types" in described else rows.shape[1])
    if rows.shape != (len(cells), len(genes)):
        raise InputError(
            f"{path}: {location} is {rows.shape[0]} × {rows.shape[1]}, but the file names {len(cells)} cells and"
            f" {len(genes)} genes"
        )
    proteins: dict[str, Callable[[], pd.DataFrame]] = {
        key: partial(_obsm_table, group, path, key, cells.index) for key in group.get("obsm", ())
    }
    file = CountFile(path, location, cells, genes, rows, note, proteins)
    kinds = genes["feature_types"].astype(str) if "feature_types" in genes else pd.Series(GENES, index=genes.index)
    return split_features(file, kinds, genes.index) if (kinds == GENES).any() else file


def open_mudata(file: Any, path: str, layer: str | None, counts_only: bool) -> CountFile:
    """Return the RNA of an open h5mu.

    Cell columns of the MuData are added to the RNA's own. Every other modality may be named as
    proteins.

    Raises:
        InputError: there is no modality "rna", or as of `open_anndata`.
    """
    if RNA not in file["mod"]:
        raise InputError(
            f"{path}: no modality {RNA!r} in the file; it has {listed(file['mod'])}; rename the one that holds the"
            " counts of RNA"
        )
    found = open_anndata(file["mod"][RNA], path, layer, counts_only)
    found.location = f"mod/{RNA}/{found.location}"
    found.notes[0] = f"{found.notes[0]} (modality {RNA!r})"
    shared = _read_elem(file["obs"]) if "obs" in file and not counts_only else pd.DataFrame(index=found.cells.index)
    found.cells = found.cells.join(
        shared.set_axis(shared.index.astype(str))[shared.columns.difference(found.cells.columns, sort=False)]
    )
    found.proteins |= {
        key: partial(_modality_table, file["mod"][key]) for key in file["mod"] if key != RNA and "X" in file["mod"][key]
    }
    return found


def _read_elem(element: Any) -> Any:
    from anndata.io import read_elem

    return read_elem(element)


def _read_table(element: Any, n_unread: int | None) -> pd.DataFrame:
    """Return a stored table of cells or genes.

    Args:
        n_unread: number of its rows, to return these many without reading names or columns; None
            to read the table.
    """
    if n_unread is not None:
        return pd.DataFrame(index=pd.RangeIndex(n_unread))
    table = _read_elem(element)
    return table.set_axis(table.index.astype(str))


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def _obsm_table(group: Any, path: str, key: str, cells: pd.Index) -> pd.DataFrame:
    """Return an obsm with names of columns; those of a plain array are looked for in uns."""
    stored = _read_elem(group["obsm"][key])
    if isinstance(stored, pd.DataFrame):
        return stored.set_axis(cells)
    values = _dense(stored)
    uns = group.get("uns", {})
    usual = (f"{key}_names", f"{key}_columns", "protein_names", "proteins", "adt_names")
    named = [_read_elem(uns[name]) for name in usual if name in uns]
    fitting = [names for names in named if np.ndim(names) == 1 and values.ndim == 2 and len(names) == values.shape[1]]
    if not fitting:
        raise InputError(
            f"{path}: obsm {key!r} of shape {values.shape} has no names of proteins; make it a data frame, or put their"
            f" names into uns[{usual[0]!r}] (uns has {listed(uns, 20)})"
        )
    return pd.DataFrame(values, index=cells, columns=[str(name) for name in fitting[0]])


def _modality_table(group: Any) -> pd.DataFrame:
    """Return a modality's X, whose cells may differ from the RNA's."""
    cells, columns = (_read_elem(group[name]).index.astype(str) for name in ("obs", "var"))
    return pd.DataFrame(_dense(_read_elem(group["X"])), index=cells, columns=columns)


def _locations(group: Any) -> list[str]:
    """Return where an AnnData file may hold counts, the likeliest first."""
    layers = list(group["layers"]) if "layers" in group else []
    layers.sort(key=lambda name: (name not in LIKELY_LAYERS, name))
    places = ["X"] if "X" in group else []
    places += [f"layers/{name}" for name in layers]
    # Some writers leave an empty array named raw where there is none.
    return places + (["raw/X"] if "raw" in group and hasattr(group["raw"], "keys") and "X" in group["raw"] else [])


def _choose_location(group: Any, candidates: list[str], path: str, layer: str | None) -> tuple[str, list[str]]:
    """Return where the counts are, and notes on why."""
    if layer is not None:
        wanted = layer if layer in candidates else {"raw": "raw/X"}.get(layer, f"layers/{layer}")
        wanted = f"layers/{layer}" if wanted not in candidates else wanted
        if wanted not in candidates:
            raise InputError(f"{path}: layer {layer!r} is not in the file; it has {listed(candidates)}")
        return wanted, [f"counts: {wanted}, as set in the sheet"]
    for location in candidates:
        if _seem_counts(open_matrix(group[location], sample=True)):
            return location, [f"counts: {location}, the first of {listed(candidates)} that holds integers only"]
    if not candidates:
        raise InputError(f"{path}: no X, layers or raw in the file; counts are missing")
    return candidates[0], [f"counts: {candidates[0]}, though nothing in the file seems to hold counts"]


def _seem_counts(rows: Rows, n_values: int = 200_000) -> bool:
    """Return whether the first values of a matrix, and some from its middle, are integers >= 0."""
    middle = rows.shape[0] // 2
    for start in {0, middle}:
        stop = max(start + 1, int(np.searchsorted(rows.ends, (rows.ends[start] if start else 0) + n_values)))
        values = rows.read(start, min(stop, rows.shape[0])).data
        if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all()):
            return False
    return True
