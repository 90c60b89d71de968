"""The atlas file: the reference and all queries as one h5ad, joined on disk."""

from collections.abc import Mapping

import h5py
import numpy as np
import pandas as pd

from refatlas import __version__
from refatlas.io.anndata_file import (
    GZIP,
    anndata_file,
    append_counts,
    append_space,
    read_frame,
    write_facts,
    write_frame,
)
from refatlas.io.cell_tables import label_column
from refatlas.io.model_counts import CHUNK
from refatlas.io.plain_columns import as_text_column, plain_column

# What a query's obs has of each cell beside its labels.
OF_QUERIES = ("confidence", "status", "batch_verdict")


def atlas_obs(reference: str, queries: Mapping[str, Mapping[str, str]], levels: int, models: list[str]) -> pd.DataFrame:
    """Return obs of the atlas: the cells of the reference, then those of each query.

    It has origin, dataset (or query), batch, the labels at all levels, confidence, status,
    batch_verdict, and the clusters of reference cells. Names of cells are DATASET:BARCODE.

    Args:
        reference: path of reference.h5ad.
        queries: by query, paths of its h5ad ("file") and of its counts.h5ad ("counts").
        levels: number of label levels; 0 if the reference has no labels.
        models: those with clusters.
    """
    labels = [label_column(level) for level in range(1, levels + 1)]
    clusters = [f"cluster_{model}" for model in models]
    first = read_frame(reference, "obs")[["dataset", "batch", *labels, *clusters]]
    words = {"origin": "reference", "status": "reference", **({"batch_verdict": "reference"} if labels else {})}
    parts = [first.assign(**words)]
    parts += [query_part(name, files, labels) for name, files in queries.items()]
    obs = pd.concat([_as_objects(part) for part in parts])
    order = ["origin", "dataset", "batch", *labels, *OF_QUERIES]
    found = pd.DataFrame({name: _plain(obs[name]) for name in order if name in obs}, index=obs.index)
    # In the order of their numbers.
    return found.assign(**{name: pd.Categorical(obs[name], first[name].cat.categories) for name in clusters})


def _as_objects(part: pd.DataFrame) -> pd.DataFrame:
    texts = [name for name in part if part[name].dtype.kind != "f"]
    return part.astype(dict.fromkeys(texts, object))


def _plain(column: pd.Series) -> pd.Series:
    return plain_column(column) if column.dtype.kind == "f" else as_text_column(column)


def query_part(query: str, files: Mapping[str, str], labels: list[str]) -> pd.DataFrame:
    """Return the obs of a query's cells in the atlas.

    Args:
        files: paths of the query's h5ad ("file") and of its counts.h5ad ("counts").
        labels: names of the label levels; none if the reference has no labels.
    """
    obs, batch = read_frame(files["file"], "obs"), read_frame(files["counts"], "obs")["batch"]
    found = obs[[*labels, *OF_QUERIES]] if labels else pd.DataFrame({"status": "not labelled"}, index=obs.index)
    named = found.set_axis([f"{query}:{barcode}" for barcode in obs.index], axis=0)
    return named.assign(origin="query", dataset=query, batch=batch.to_numpy())


def write_atlas(path: str, reference: str, queries: Mapping[str, Mapping[str, str]], obs: pd.DataFrame) -> None:
    """Write the atlas. Counts and spaces of the reference are copied as they are compressed.

    Args:
        path: of the h5ad.
        reference: path of reference.h5ad.
        queries: as of `atlas_obs`; the counts are of the selected genes, also where a query's h5ad
            has all.
        obs: of `atlas_obs`.
    """
    with anndata_file(path) as file, h5py.File(reference, "r") as stored:
        del file["obsm"]
        for name in ("var", "obsm"):
            stored.copy(name, file)
        matrix = file.create_group("X")
        for name in ("data", "indices"):
            stored["X"].copy(name, matrix)
        lengths = [np.diff(stored["X/indptr"][:].astype(np.int64))]
        for files in queries.values():
            lengths.append(append_counts(matrix, files["counts"]))
            with h5py.File(files["file"], "r") as query:
                for key in file["obsm"]:
                    append_space(file["obsm"][key], query["obsm"][key])
        _finish(matrix, np.concatenate(lengths), int(stored["X"].attrs["shape"][1]))
        write_frame(file, "obs", obs)
        write_facts(file, {"version": __version__, "queries": ", ".join(queries)})


def _finish(matrix: h5py.Group, lengths: np.ndarray, n_genes: int) -> None:
    """Write where each row of a CSR matrix begins, and what it is."""
    starts = np.concatenate([[0], lengths]).cumsum()
    narrow = starts.astype(np.int32 if starts[-1] < 2**31 else np.int64)
    matrix.create_dataset("indptr", data=narrow, chunks=(min(CHUNK, len(starts)),), **GZIP)
    matrix.attrs.update(
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array([len(lengths), n_genes])}
    )
