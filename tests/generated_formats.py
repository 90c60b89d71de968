"""Writers of AnnData for `generated_files`: h5ad of three generations, zarr and h5mu."""

import gzip
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from generated_files import GeneNames, World, Written, cell_table, gene_names
from generated_places import Places, marked_kinds, nearly, plan, stored

Writer = Callable[[World, np.random.Generator, Path], Written]


def _features(world: World, names: GeneNames, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Return counts of all features, their table, and which are genes; sometimes proteins are among them."""
    n_genes, n_proteins = world.counts.shape[1], world.proteins.shape[1] if rng.random() < 0.25 else 0
    extra = [f"AB{i}-TotalC" for i in range(n_proteins)]
    counts = np.hstack([world.counts, world.proteins[:, :n_proteins]])
    table = pd.DataFrame(
        {
            name: [*values, *(extra if _is_text(values) else [type(values[0])(0)] * n_proteins)]
            for name, values in names.columns.items()
        },
        index=[*names.index, *extra],
    )
    if n_proteins or rng.random() < 0.2:
        kinds, column = marked_kinds(n_genes, n_proteins, rng)
        table[column] = kinds.to_numpy() if rng.random() < 0.5 else pd.Categorical(kinds)
    order = rng.permutation(len(table)) if rng.random() < 0.3 else np.arange(len(table))
    return counts[:, order], table.iloc[order], order


def _is_text(values: Any) -> bool:
    return isinstance(values[0], str)


def _expected(names: GeneNames, order: np.ndarray, counts: np.ndarray) -> dict[str, Any]:
    """Return the counts, ids and symbols of the genes among ordered features."""
    genes = np.flatnonzero(order < len(names.index))
    of_genes = order[genes]
    return {
        "counts": counts[:, genes],
        "ids": [names.ids[i] for i in of_genes] if names.ids else None,
        "symbols": [names.symbols[i] for i in of_genes] if names.symbols else None,
    }


def make_anndata(
    world: World, rng: np.random.Generator, sparse_only: bool = False
) -> tuple[ad.AnnData, dict[str, Any], Places]:
    """Return an AnnData in a random layout, what is to be read, and where its counts are."""
    names = gene_names(world, rng)
    counts, var, order = _features(world, names, rng)
    places = plan(counts, rng)
    n_x = places.n_x or counts.shape[1]
    is_near = places.x is places.truth and rng.random() < 0.1

    def encoded(matrix: np.ndarray) -> Any:
        found = stored(matrix, rng)
        return sparse.csr_matrix(found) if sparse_only and found.dtype != np.float16 else found

    x = None if places.x is None else encoded(nearly(places.x, rng) if is_near else places.x)
    data = ad.AnnData(x, obs=cell_table(world, rng), var=var.iloc[:n_x])
    for name in rng.permutation(list(places.layers)) if places.layers else ():
        data.layers[str(name)] = encoded(places.layers[str(name)])
    if places.raw is not None:
        data.raw = ad.AnnData(encoded(places.raw), obs=data.obs, var=var)
    assert places.truth is not None
    expected = _expected(names, order[: places.truth.shape[1]], places.truth)
    row = {"layer": places.layer} if places.layer else {}
    return data, {**expected, "row": row, "plain": places.plain and not is_near, "traits": [places.trait]}, places


def write_h5ad(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As anndata writes it, with or without compression, sometimes gzipped as a whole."""
    data, expected, _ = make_anndata(world, rng)
    path = folder / "counts.h5ad"
    data.write_h5ad(path, compression=[None, "gzip", "lzf"][rng.integers(3)])
    if rng.random() < 0.1:
        with open(path, "rb") as plain, gzip.open(f"{path}.gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        path.unlink()
        path = folder / "counts.h5ad.gz"
    return Written(str(path), **expected)


def write_zarr(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As anndata writes a zarr, of format 2 or 3."""
    data, expected, _ = make_anndata(world, rng)
    with warnings.catch_warnings(), ad.settings.override(zarr_write_format=int(rng.integers(2, 4))):
        warnings.simplefilter("ignore")
        data.write_zarr(folder / "counts.zarr")
    return Written(str(folder / "counts.zarr"), **expected)


def write_h5mu(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As muon writes RNA and proteins; batches and labels of the RNA's cells, or of all cells."""
    data, expected, _ = make_anndata(world, rng)
    names = [f"P{i}" for i in range(world.proteins.shape[1])]
    proteins = ad.AnnData(world.proteins.astype(np.float32), obs=data.obs[[]], var=pd.DataFrame(index=names))
    shared = data.obs.copy()
    if rng.random() < 0.5:
        data.obs = data.obs[[]]
    else:
        shared = shared[[]]
    path = folder / "counts.h5mu"
    with h5py.File(path, "w") as file:
        modalities = {"rna": data, "prot": proteins}
        stored = file.create_group("mod")
        for name in rng.permutation(list(modalities)):
            ad.io.write_elem(stored, str(name), modalities[str(name)])
        ad.io.write_elem(file, "obs", shared)
        ad.io.write_elem(file, "var", pd.DataFrame(index=[*data.var_names, *names]))
        file.attrs["encoding-type"] = "MuData"
    return Written(str(path), **expected)


def _matrices(data: ad.AnnData) -> dict[str, Any]:
    """Return X and the layers by their place in a file."""
    found = {"X": data.X, **{f"layers/{name}": layer for name, layer in data.layers.items() if name is not None}}
    return {place: matrix for place, matrix in found.items() if matrix is not None}


def _write_07_matrix(file: h5py.File, place: str, matrix: Any) -> None:
    if isinstance(matrix, np.ndarray):
        file.create_dataset(place, data=matrix)
        return
    group = file.create_group(place)
    group.attrs.update(
        {"encoding-type": f"{matrix.format}_matrix", "encoding-version": "0.1.0", "shape": np.array(matrix.shape)}
    )
    for part in ("data", "indices", "indptr"):
        group.create_dataset(part, data=getattr(matrix, part))


def _write_07_table(group: h5py.Group, table: pd.DataFrame, rng: np.random.Generator, referenced: bool) -> None:
    """Write a table as anndata 0.7 did: codes of categories, whose names are in __categories."""
    text, index = h5py.string_dtype(), str(rng.choice(["_index", "index"]))
    group.attrs.update({"_index": index, "encoding-type": "dataframe", "encoding-version": "0.1.0"})
    group.attrs.create("column-order", [str(name) for name in table.columns], dtype=text)
    group.create_dataset(index, data=list(table.index), dtype=text)
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            codes = group.create_dataset(str(name), data=column.cat.codes.to_numpy())
            stored_names = group.require_group("__categories")
            values = stored_names.create_dataset(str(name), data=list(column.cat.categories), dtype=text)
            if referenced:
                codes.attrs["categories"] = values.ref
        elif column.dtype.kind in "OTU" or isinstance(column.dtype, pd.StringDtype):
            group.create_dataset(str(name), data=[str(value) for value in column], dtype=text)
        else:
            group.create_dataset(str(name), data=column.to_numpy())


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose categories are texts, and whose texts with missing values are categories."""
    found = table.copy()
    for name in found:
        column = found[name]
        if column.dtype.kind == "O" and column.isna().any():
            found[name] = pd.Categorical(column)
    return found


def write_07(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As anndata 0.7 (with references to the categories) or SeuratDisk (without) wrote it."""
    data, expected, _ = make_anndata(world, rng)
    path, referenced = folder / "counts.h5ad", bool(rng.random() < 0.5)
    with h5py.File(path, "w") as file:
        for name, matrix in _matrices(data).items():
            _write_07_matrix(file, name, matrix)
        _write_07_table(file.create_group("obs"), _as_text(data.obs), rng, referenced)
        _write_07_table(file.create_group("var"), data.var, rng, referenced)
        if data.raw is not None:
            _write_07_matrix(file, "raw/X", data.raw.X)
            _write_07_table(file.create_group("raw/var"), data.raw.var, rng, referenced)
    expected["traits"].append("references" if referenced else "as SeuratDisk")
    return Written(str(path), **expected)


def _compound(table: pd.DataFrame, uns: h5py.Group) -> np.ndarray:
    """Return a table as the compound array of anndata 0.6; names of categories go to uns."""
    columns: dict[str, np.ndarray] = {"index": np.array([name.encode() for name in table.index])}
    for name, column in table.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            columns[str(name)] = column.cat.codes.to_numpy()
            names = np.array([str(value).encode() for value in column.cat.categories])
            if f"{name}_categories" not in uns:
                uns.create_dataset(f"{name}_categories", data=names)
        elif column.dtype.kind in "OTU" or isinstance(column.dtype, pd.StringDtype):
            columns[str(name)] = np.array([str(value).encode() for value in column])
        else:
            columns[str(name)] = column.to_numpy()
    found = np.zeros(len(table), dtype=[(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        found[name] = values
    return found


def write_06(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As anndata 0.6 wrote it: compound arrays for tables, h5sparse for matrices."""
    data, expected, _ = make_anndata(world, rng)
    path = folder / "counts.h5ad"
    with h5py.File(path, "w") as file:
        uns = file.create_group("uns")
        for name, matrix in _matrices(data).items():
            _write_06_matrix(file, name, matrix)
        file.create_dataset("obs", data=_compound(_as_text(data.obs), uns))
        file.create_dataset("var", data=_compound(data.var, uns))
        if data.raw is not None:
            _write_06_matrix(file, "raw.X", data.raw.X)
            file.create_dataset("raw.var", data=_compound(data.raw.var, uns))
    return Written(str(path), **expected)


def _write_06_matrix(file: h5py.File, name: str, matrix: Any) -> None:
    if isinstance(matrix, np.ndarray):
        file.create_dataset(name, data=matrix)
        return
    group = file.create_group(name)
    group.attrs.update({"h5sparse_format": matrix.format, "h5sparse_shape": np.array(matrix.shape)})
    for part in ("data", "indices", "indptr"):
        group.create_dataset(part, data=getattr(matrix, part))


# Each writer with how often it is chosen.
ANNDATA_WRITERS: dict[str, tuple[Writer, float]] = {
    "h5ad": (write_h5ad, 8),
    "h5ad of 0.7": (write_07, 4),
    "h5ad of 0.6": (write_06, 2),
    "zarr": (write_zarr, 0.2),
    "h5mu": (write_h5mu, 2),
}
