"""h5ad files for people: written piece by piece, so that no counts are in memory.

Only what anndata 0.8, cellxgene and readers in R know: CSR counts as float32, plain arrays, text,
categories; gzip alone compresses.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from refatlas.io.atomic import atomic_path
from refatlas.io.model_counts import CHUNK, COPIED, MatrixWriter

GZIP: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
# Rows of a latent space that are appended at once.
ROWS = 65_536


@contextmanager
def anndata_file(path: str | Path) -> Iterator[h5py.File]:
    """Yield a new h5ad without content; it is written atomically."""
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
            ad.io.write_elem(file, name, {})
        yield file


def write_frame(file: h5py.File, name: str, table: pd.DataFrame) -> None:
    """Write obs or var, whose columns have plain types (see `plain_column`)."""
    table = table.rename_axis(None)
    ad.io.write_elem(file, name, table, dataset_kwargs={"compression": "gzip"})


def write_facts(file: h5py.File, facts: Mapping[str, str]) -> None:
    """Write texts to uns["refatlas"]."""
    ad.io.write_elem(file["uns"], "refatlas", {key: str(text) for key, text in facts.items()})


def write_space(file: h5py.File, key: str, values: np.ndarray) -> None:
    """Write a latent space or a UMAP to obsm, as float32.

    Args:
        key: name in obsm. values: shape (n_cells, n_dimensions).
    """
    rows = int(np.clip(CHUNK // max(values.shape[1], 1), 1, max(len(values), 1)))
    kwargs = {**GZIP, "maxshape": (None, values.shape[1]), "chunks": (rows, values.shape[1])}
    ad.io.write_elem(file["obsm"], key, np.asarray(values, dtype=np.float32), dataset_kwargs=kwargs)


def write_spaces(
    file: h5py.File, cells: pd.Index, latents: Mapping[str, str], umaps: Mapping[str, str], shown: str
) -> None:
    """Write the spaces of all models to obsm: X_MODEL, X_umap_MODEL, and X_umap of one model.

    Args:
        cells: names of the cells, in the order of the file; one that a model has not seen is
            missing (NaN).
        latents, umaps: paths of latent.parquet and umap.parquet, by model.
        shown: the model of X_umap.
    """
    places = read_space(umaps[shown], cells)
    write_space(file, "X_umap", places)
    for model, path in umaps.items():
        write_space(file, f"X_umap_{model}", places if model == shown else read_space(path, cells))
        write_space(file, f"X_{model}", read_space(latents[model], cells))


def read_space(path: str, cells: pd.Index) -> np.ndarray:
    """Return a latent space or UMAP in the order of these cells, NaN for those that it lacks."""
    table = pd.read_parquet(path)
    found = table if table.index.equals(cells) else table.reindex(cells)
    return found.to_numpy(dtype=np.float32)


def copy_counts(file: h5py.File, counts: str | Path) -> None:
    """Write the counts of a counts.h5ad as the X of a file, block by block.

    Positions are copied as they are compressed; values become float32.
    """
    with h5py.File(counts, "r") as stored:
        matrix = stored["X"]
        into = MatrixWriter(file, int(matrix.attrs["shape"][1]), np.float32)
        del into.group["indices"]
        matrix.copy("indices", into.group)
        _append_values(into.group["data"], matrix["data"])
        into.n_values, into.lengths = len(matrix["data"]), [np.zeros(1, np.int64), np.diff(matrix["indptr"][:])]
        into.finish(int(matrix.attrs["shape"][0]))


def append_counts(group: h5py.Group, counts: str | Path) -> np.ndarray:
    """Append the counts of a counts.h5ad to data and indices of a CSR matrix; return the length of each row."""
    with h5py.File(counts, "r") as stored:
        matrix = stored["X"]
        for name in ("data", "indices"):
            _append_values(group[name], matrix[name])
        return np.diff(matrix["indptr"][:].astype(np.int64))


def append_space(into: h5py.Dataset, space: h5py.Dataset) -> None:
    """Append the rows of a latent space or a UMAP to another."""
    begin = into.shape[0]
    into.resize(begin + space.shape[0], axis=0)
    for start in range(0, space.shape[0], ROWS):
        block = space[start : start + ROWS]
        into[begin + start : begin + start + len(block)] = block


def _append_values(into: h5py.Dataset, values: h5py.Dataset) -> None:
    begin = into.shape[0]
    into.resize((begin + values.shape[0],))
    for start in range(0, values.shape[0], COPIED):
        block = values[start : start + COPIED]
        into[begin + start : begin + start + len(block)] = block


def read_frame(path: str | Path, name: str) -> pd.DataFrame:
    """Return obs or var of an h5ad, without reading its counts."""
    with h5py.File(path, "r") as file:
        table: Any = ad.io.read_elem(file[name])
        return table
