"""Raw counts in h5ad, h5mu and zarr: where they stand, and the proteins beside them."""

from functools import partial

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.count_file import GENES, CountFile, split_features
from refatlas.io.matrix_rows import Rows, rows_of

RNA = "rna"
LIKELY_LAYERS = ("counts", "raw_counts", "count", "raw", "umi", "UMI", "umis")


def open_zarr(path: str, layer: str | None, counts_only: bool) -> CountFile:
    import zarr

    return open_anndata(zarr.open_group(path, mode="r"), path, layer, counts_only)


def _table(element, unread: int | None) -> pd.DataFrame:
    """Return a stored table of cells or genes; where it is not wanted, one of `unread` rows without
    columns or names.
    """
    if unread is not None:
        return pd.DataFrame(index=pd.RangeIndex(unread))
    from anndata.io import read_elem

    table = read_elem(element)
    return table.set_axis(table.index.astype(str))


def open_anndata(group, path: str, layer: str | None, counts_only: bool) -> CountFile:
    candidates = _locations(group)
    location, note = _choose_location(group, candidates, path, layer)
    rows = rows_of(group[location])
    described = group["raw/var" if location == "raw/X" else "var"]
    cells = _table(group["obs"], None if not counts_only else rows.shape[0])
    genes = _table(described, None if not counts_only or "feature_types" in described else rows.shape[1])
    if rows.shape != (len(cells), len(genes)):
        raise InputError(
            f"{path}: {location} is {rows.shape[0]} × {rows.shape[1]}, but the file names {len(cells)} cells and"
            f" {len(genes)} genes"
        )
    proteins = {key: partial(_obsm_table, group, path, key, cells.index) for key in group.get("obsm", ())}
    file = CountFile(path, location, cells, genes, rows, note, proteins)
    kinds = genes["feature_types"].astype(str) if "feature_types" in genes else pd.Series(GENES, index=genes.index)
    return split_features(file, kinds, genes.index) if (kinds == GENES).any() else file


def open_mudata(file, path: str, layer: str | None, counts_only: bool) -> CountFile:
    """Return the RNA of an h5mu; cell columns of the whole stand beside the RNA's own, every other
    modality may hold proteins.
    """
    from anndata.io import read_elem

    if RNA not in file["mod"]:
        raise InputError(
            f"{path}: no modality {RNA!r} in the file; it has {listed(file['mod'])}; rename the one that holds the"
            " counts of RNA"
        )
    found = open_anndata(file["mod"][RNA], path, layer, counts_only)
    found.location = f"mod/{RNA}/{found.location}"
    found.notes[0] = f"{found.notes[0]} (modality {RNA!r})"
    shared = read_elem(file["obs"]) if "obs" in file and not counts_only else pd.DataFrame(index=found.cells.index)
    found.cells = found.cells.join(
        shared.set_axis(shared.index.astype(str))[shared.columns.difference(found.cells.columns, sort=False)]
    )
    found.proteins |= {
        key: partial(_modality_table, file["mod"][key]) for key in file["mod"] if key != RNA and "X" in file["mod"][key]
    }
    return found


def _obsm_table(group, path: str, key: str, cells: pd.Index) -> pd.DataFrame:
    """Return an obsm with its columns' names, which for a plain array stand in uns."""
    from anndata.io import read_elem

    values = read_elem(group["obsm"][key])
    if isinstance(values, pd.DataFrame):
        return values.set_axis(cells)
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    uns = group.get("uns", {})
    usual = (f"{key}_names", f"{key}_columns", "protein_names", "proteins", "adt_names")
    named = [read_elem(uns[name]) for name in usual if name in uns]
    fitting = [names for names in named if np.ndim(names) == 1 and values.ndim == 2 and len(names) == values.shape[1]]
    if not fitting:
        raise InputError(
            f"{path}: obsm {key!r} of shape {values.shape} has no names of proteins; make it a data frame, or put their"
            f" names into uns[{usual[0]!r}] (uns has {listed(uns, 20)})"
        )
    return pd.DataFrame(values, index=cells, columns=[str(name) for name in fitting[0]])


def _modality_table(group) -> pd.DataFrame:
    """Return a modality's X; its cells may be others than the RNA's."""
    from anndata.io import read_elem

    values = read_elem(group["X"])
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return pd.DataFrame(
        values, index=read_elem(group["obs"]).index.astype(str), columns=read_elem(group["var"]).index.astype(str)
    )


def _locations(group) -> list[str]:
    """Return where an AnnData file may hold counts, the likeliest first."""
    layers = list(group["layers"]) if "layers" in group else []
    layers.sort(key=lambda name: (name not in LIKELY_LAYERS, name))
    places = ["X"] if "X" in group else []
    places += [f"layers/{name}" for name in layers]
    # Some writers leave an empty array named raw where there is none.
    return places + (["raw/X"] if "raw" in group and hasattr(group["raw"], "keys") and "X" in group["raw"] else [])


def _choose_location(group, candidates: list[str], path: str, layer: str | None) -> tuple[str, list[str]]:
    if layer is not None:
        wanted = layer if layer in candidates else {"raw": "raw/X"}.get(layer, f"layers/{layer}")
        wanted = f"layers/{layer}" if wanted not in candidates else wanted
        if wanted not in candidates:
            raise InputError(f"{path}: layer {layer!r} is not in the file; it has {listed(candidates)}")
        return wanted, [f"counts: {wanted}, as asked for"]
    for location in candidates:
        if _seem_counts(rows_of(group[location], sample=True)):
            return location, [f"counts: {location}, the first of {listed(candidates)} with integers only"]
    if not candidates:
        raise InputError(f"{path}: no X, layers or raw in the file; counts are missing")
    return candidates[0], [f"counts: {candidates[0]}, though nothing in the file seems to hold counts"]


def _seem_counts(rows: Rows, n_values: int = 200_000) -> bool:
    """Tell whether the first values of a matrix, and some from its middle, are integers and not
    negative.
    """
    middle = rows.shape[0] // 2
    for start in {0, middle}:
        stop = max(start + 1, int(np.searchsorted(rows.ends, (rows.ends[start] if start else 0) + n_values)))
        values = rows.read(start, min(stop, rows.shape[0])).data
        if not (np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all()):
            return False
    return True
