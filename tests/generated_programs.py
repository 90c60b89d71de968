"""Writers of the formats of Cell Ranger and other programs that count, for `generated_files`."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from scipy import io, sparse

from generated_files import World, Written, cell_table
from generated_formats import ANNDATA_WRITERS

Writer = Callable[[World, np.random.Generator, Path], Written]
# How programs name matrix, features and barcodes of a folder, and whether cells are its columns.
FOLDERS = {
    "Cell Ranger 3": ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz", True),
    "Cell Ranger 2": ("matrix.mtx", "genes.tsv", "barcodes.tsv", True),
    "STARsolo": ("matrix.mtx", "features.tsv", "barcodes.tsv", True),
    "GEO": ("GSM1234_s1_matrix.mtx.gz", "GSM1234_s1_features.tsv.gz", "GSM1234_s1_barcodes.tsv.gz", True),
    "GEO, genes": ("GSM99-matrix.mtx.gz", "GSM99-genes.tsv.gz", "GSM99-barcodes.tsv.gz", True),
    "kb": ("cells_x_genes.mtx", "cells_x_genes.genes.txt", "cells_x_genes.barcodes.txt", False),
    "alevin-fry": ("quants_mat.mtx", "quants_mat_cols.txt", "quants_mat_rows.txt", False),
}


def _tenx_features(world: World, rng: np.random.Generator) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """Return counts, features (id, name, kind) and what is to be read; sometimes antibodies are among them."""
    n = world.proteins.shape[1] if rng.random() < 0.3 else 0
    counts = np.hstack([world.counts, world.proteins[:, :n]])
    ids = [f"{i}.{rng.integers(1, 9)}" for i in world.ids] if rng.random() < 0.2 else world.ids
    prefix = "GRCh38_" if rng.random() < 0.1 and world.ids[0].startswith("ENSG") else ""
    table = pd.DataFrame(
        {
            "id": [*(prefix + i for i in ids), *(f"AB{i}" for i in range(n))],
            "name": [*(prefix + s for s in world.symbols), *(f"CD{i}_TotalC" for i in range(n))],
            "kind": ["Gene Expression"] * len(ids) + ["Antibody Capture"] * n,
        }
    )
    expected = {"counts": world.counts, "ids": world.ids, "symbols": world.symbols, "row": {}, "has_cells": False}
    return counts, table, {**expected, "plain": not prefix, "traits": ["prefixed"] if prefix else []}


def write_10x_h5(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As Cell Ranger 2 (a group for the genome) or a later version writes it."""
    counts, table, expected = _tenx_features(world, rng)
    matrix = sparse.csc_matrix(counts.T.astype(np.int32))
    path, is_old = folder / "counts.h5", bool(rng.random() < 0.4)
    if is_old:
        matrix, table = matrix[: len(world.ids)], table.iloc[: len(world.ids)]
    with h5py.File(path, "w") as file:
        group = file.create_group("GRCh38" if is_old else "matrix")
        for part in ("data", "indices", "indptr"):
            group.create_dataset(part, data=getattr(matrix, part), compression="gzip" if rng.random() < 0.5 else None)
        group.create_dataset("shape", data=np.array(matrix.shape, dtype=np.int32))
        group.create_dataset("barcodes", data=_bytes(world.cells))
        if is_old:
            group.create_dataset("genes", data=_bytes(table["id"]))
            group.create_dataset("gene_names", data=_bytes(table["name"]))
        else:
            columns = {"id": table["id"], "name": table["name"], "feature_type": table["kind"]}
            for name, values in {**columns, "genome": ["GRCh38"] * len(table)}.items():
                group.create_dataset(f"features/{name}", data=_bytes(values))
    expected["traits"].append("v2" if is_old else "v3")
    return Written(str(path), **expected)


def _bytes(values: Any) -> np.ndarray:
    return np.array([str(value).encode() for value in values])


def write_mtx(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As one of many programs writes a folder of text, sometimes in a folder of Cell Ranger's outs."""
    program = str(rng.choice(list(FOLDERS)))
    names, (counts, table, expected) = FOLDERS[program], _tenx_features(world, rng)
    if program in ("kb", "alevin-fry", "Cell Ranger 2", "GEO, genes"):
        counts, table = counts[:, : len(world.ids)], table.iloc[: len(world.ids)]
    place = folder / "outs" / "filtered_feature_bc_matrix" if rng.random() < 0.1 else folder / "mtx"
    place.mkdir(parents=True)
    matrix = sparse.coo_matrix(counts.T if names[3] else counts)
    as_real = bool(rng.random() < 0.2)
    _write(place / names[0], lambda path: io.mmwrite(str(path), matrix, field="real" if as_real else "integer"))
    columns = {"kb": ["id"], "alevin-fry": ["id"], "Cell Ranger 2": ["id", "name"], "GEO, genes": ["id", "name"]}
    lines = table[columns.get(program, ["id", "name", "kind"])].agg("\t".join, axis=1)
    _write(place / names[1], lambda path: path.write_text("\n".join(lines) + "\n"))
    _write(place / names[2], lambda path: path.write_text("\n".join(world.cells) + "\n"))
    expected["symbols"] = world.symbols if program not in ("kb", "alevin-fry") else None
    expected["traits"] += [program, str(place.relative_to(folder))]
    return Written(str(folder / place.relative_to(folder).parts[0]), **expected)


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file, gzipped if its name says so."""
    plain = path.with_name(path.name.removesuffix(".gz"))
    write(plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()


def write_loom(world: World, rng: np.random.Generator, folder: Path) -> Written:
    """As velocyto or loompy writes it: genes × cells, attributes of rows and columns."""
    path = folder / "counts.loom"
    cells = cell_table(world, rng)
    spliced = rng.binomial(world.counts, 0.7)
    is_velocyto = bool(rng.random() < 0.5)
    layers = {"spliced": spliced, "unspliced": world.counts - spliced} if is_velocyto else {}
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        kind = str(rng.choice(["uint16", "float32", "int32", "float64"]))
        file.create_dataset("matrix", data=world.counts.T.astype(kind), compression="gzip", chunks=(5, 7))
        for group in ("attrs", "layers", "row_graphs", "col_graphs"):
            file.create_group(group)
        for name, layer in layers.items():
            file.create_dataset(f"layers/{name}", data=layer.T.astype(kind), compression="gzip")
        file.create_dataset("attrs/LOOM_SPEC_VERSION", data="3.0.0", dtype=text)
        file.create_dataset("row_attrs/Gene", data=world.symbols, dtype=text)
        file.create_dataset("row_attrs/Accession", data=world.ids, dtype=text)
        file.create_dataset(f"col_attrs/{rng.choice(['CellID', 'obs_names'])}", data=world.cells, dtype=text)
        for name, column in cells.items():
            is_text = column.dtype.kind not in "biuf"
            values = ["" if v is None or v != v else str(v) for v in column] if is_text else column.to_numpy()
            file.create_dataset(f"col_attrs/{name}", data=values, dtype=text if is_text else None)
    return Written(
        str(path), {}, world.counts, world.ids, world.symbols, traits=["velocyto" if is_velocyto else "loompy"]
    )


# Each writer with how often it is chosen.
WRITERS: dict[str, tuple[Writer, float]] = {
    **ANNDATA_WRITERS,
    "10x h5": (write_10x_h5, 2),
    "mtx": (write_mtx, 4),
    "loom": (write_loom, 2),
}
