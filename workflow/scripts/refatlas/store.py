"""The kept cells × selected genes that models see, as h5ad: written once by the build rules, read by every model.

X is CSR: data of the smallest unsigned integers that hold them, indices, both in chunks of 32,768 values, shuffled and gzipped: about a sixth of the bytes of float32 and
int32, readable by any anndata, and in any order of rows.
"""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.counts import CountFile
from refatlas.genes import match_selected, take_genes
from refatlas.jobs import whole

CHUNK = 32_768


def gather(file: CountFile, keep: np.ndarray, genes: pd.DataFrame, table: pd.DataFrame) -> sparse.csr_matrix:
    """Return the kept cells of a file × the selected genes in their order, float32; genes that the file lacks are empty columns.

    Args:
        keep: of each cell, shape (n_cells,). genes: genes.parquet of the split. table: the file's genes, of `gene_table`.
    """
    rows, n_genes = match_selected(genes, table), int(genes["selected"].sum())
    parts = [sparse.csr_matrix((0, n_genes), dtype=np.float32)]
    for start, block in file.blocks():
        wanted = keep[start : start + block.shape[0]]
        if wanted.any():
            parts.append(take_genes(block[wanted], rows, n_genes).astype(np.float32))
    return sparse.vstack(parts, format="csr")


def write_counts(path: str, matrix: sparse.csr_matrix, obs: pd.DataFrame, genes: pd.DataFrame, measured: np.ndarray | None = None, proteins: pd.DataFrame | None = None) -> None:
    """Write the counts of the selected genes as h5ad, whole or not at all; text columns become categories, missing labels stay missing.

    Args:
        measured: whether the file has each gene, rather than zeros in its place; all, if not given.
        proteins: counts of `refatlas.proteins`, which go to obsm["proteins"] with their names in uns["protein_names"]; none, if it has no columns.
    """
    obs, genes = obs.copy(), genes[genes["selected"]]
    for name in obs.columns:
        if obs[name].dtype == object:
            obs[name] = obs[name].astype("category")
    var = pd.DataFrame({"symbol": genes["symbol"].fillna(genes.index.to_series()).astype(str)}, index=genes.index.astype(str))
    var["measured"] = True if measured is None else measured
    var.index.name = None
    obs.index.name = None
    counts = ad.AnnData(obs=obs, var=var)
    if proteins is not None and proteins.shape[1]:
        # An array with names apart: a protein's name may hold a "/", which a data frame in an h5ad may not.
        counts.obsm["proteins"], counts.uns["protein_names"] = proteins.to_numpy(dtype=np.float32), proteins.columns.to_numpy(dtype=str).astype(object)
    with whole(path) as part:
        counts.write_h5ad(part, compression="lzf")
        with h5py.File(part, "a") as file:
            write_matrix(file, matrix)


def write_matrix(file: h5py.File, matrix: sparse.csr_matrix) -> None:
    """Write the X of an h5ad."""
    file.pop("X", None)
    group = file.create_group("X")
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(matrix.shape)})
    for name, values in (("data", _smallest(matrix.data)), ("indices", matrix.indices), ("indptr", matrix.indptr)):
        packed = {"chunks": (min(CHUNK, len(values)),), "compression": "gzip", "compression_opts": 1, "shuffle": True} if len(values) else {}
        group.create_dataset(name, data=values, **packed)


def _smallest(values: np.ndarray) -> np.ndarray:
    """Return counts as the smallest unsigned integers that hold them."""
    small = values.astype(np.min_scalar_type(int(values.max(initial=0))))
    return small if np.array_equal(small, values) else values


def read_counts(path: str) -> ad.AnnData:
    """Return counts that `write_counts` wrote, as float32."""
    counts = ad.read_h5ad(path)
    counts.X = counts.X.astype(np.float32)
    return counts


def protein_names(path: str | None) -> list[str]:
    """Return the proteins in counts that `write_counts` wrote; none without a file, or where nothing measured any."""
    if path is None:
        return []
    with h5py.File(path, "r") as file:
        return list(file["uns/protein_names"].asstr()[:]) if "uns/protein_names" in file else []


def log_normalized(matrix: sparse.csr_matrix, target: float = 1e4) -> sparse.csr_matrix:
    """Return log1p of counts scaled to `target` a cell; a cell without counts stays empty."""
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    scale = np.divide(target, totals, out=np.zeros(len(totals)), where=totals > 0)
    scaled = matrix.astype(np.float32, copy=True)
    scaled.data *= np.repeat(scale, np.diff(matrix.indptr)).astype(np.float32)
    return scaled.log1p()


def latent_table(latent, counts) -> pd.DataFrame:
    """Return a latent space as a table indexed by cell, with columns latent_1, latent_2, …"""
    columns = [f"latent_{i + 1}" for i in range(latent.shape[1])]
    return pd.DataFrame(latent, index=pd.Index(counts.obs_names, name="cell"), columns=columns)
