"""Label transfer from a million cells: scArches' two functions, weighted kNN by the flat index of faiss, and the
saved index of this workflow.

usage: .venv/bin/python measurements/label_transfer.py DATA CACHE [N_QUERY] [N_REFERENCE] [DIMENSIONS,…]

DATA is the folder of kang_ctrl_8donors_1287g.h5ad, CACHE one for latent spaces and indices. faiss-cpu is measured if
it can be imported (PYTHONPATH). scVI is trained once on the real cells, in each number of dimensions. Cells are then
drawn from normal distributions with the covariance of the 50 nearest cells of a real cell; query cells are drawn around
other cells than the reference. Sides are measured in turn, each with the loading of its files; beyond a million
reference cells, only the index is.
"""

import os
import platform
import sys
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.reference_index import ReferenceIndex, index_cells
from refatlas.transfer.weighted_knn import weighted_knn_labels, weighted_knn_table

N_REFERENCE, N_QUERY, DIMENSIONS, K, REPEATS, THREADS = 1_000_000, 1_000, (10, 20, 30, 50), 50, 3, 2
N_CERTIFIED = 500  # Query cells whose nearest are proved, which takes a tenth of a second each.
SOURCE = "kang_ctrl_8donors_1287g.h5ad"


def real_latent(data: Path, cache: Path, n_latent: int) -> tuple[np.ndarray, np.ndarray]:
    """Return scVI's latent space of the real cells and their labels, trained at the first call."""
    file = cache / f"latent_{n_latent}.npz"
    if not file.exists():
        import scvi

        scvi.settings.seed = 0
        counts = ad.read_h5ad(data / SOURCE)
        scvi.model.SCVI.setup_anndata(counts, batch_key="batch")
        model = scvi.model.SCVI(counts, n_latent=n_latent, n_layers=1, gene_likelihood="nb")
        model.train(max_epochs=15, accelerator="cpu", batch_size=256, enable_progress_bar=False)
        np.savez(
            file,
            latent=model.get_latent_representation().astype(np.float32),
            labels=counts.obs["cell_type"].astype(str).to_numpy().astype(str),
        )
    with np.load(file) as arrays:
        return arrays["latent"], arrays["labels"]


def resampled(
    latent: np.ndarray, sources: np.ndarray, n_cells: int, random: np.random.Generator, k: int = 50
) -> tuple[np.ndarray, np.ndarray]:
    """Return cells drawn around real ones, with the covariance of their k nearest, and the positions of the real
    ones.
    """
    neighbors, _ = nearest_neighbors(latent, latent[sources], k, THREADS)
    drawn, cells = random.integers(0, len(sources), n_cells), np.empty((n_cells, latent.shape[1]), dtype=np.float32)
    for start in range(0, n_cells, 20_000):
        part = drawn[start : start + 20_000]
        around = latent[neighbors[part]]
        weights = random.normal(size=(len(part), k)).astype(np.float32) / np.sqrt(k)
        cells[start : start + 20_000] = latent[sources[part]] + np.einsum(
            "nk,nkd->nd", weights, around - around.mean(axis=1, keepdims=True)
        )
    return cells, sources[drawn]


def by_scarches(reference: np.ndarray, labels: pd.Series, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and uncertainties by scArches' own two functions."""
    ad.read = ad.read_h5ad
    from scarches.utils.knn import weighted_knn_trainer, weighted_knn_transfer

    finder = weighted_knn_trainer(ad.AnnData(reference), "X", K)
    found, uncertainty = weighted_knn_transfer(ad.AnnData(query), "X", labels.to_frame("label"), "label", finder)
    return found["label"].to_numpy(dtype=str), uncertainty["label"].to_numpy(dtype=float)


def by_faiss(reference: np.ndarray, labels: pd.Series, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and uncertainties by weighted kNN with the flat index of faiss."""
    import faiss

    faiss.omp_set_num_threads(THREADS)
    flat = faiss.IndexFlatL2(reference.shape[1])
    flat.add(reference)
    squares, neighbors = flat.search(query, K)
    distances = np.sqrt(np.maximum(squares, 0)).astype(float)
    cells = pd.RangeIndex(len(query))
    return _answers(weighted_knn_table(labels.astype("category"), neighbors, distances, cells))


def by_index(index: ReferenceIndex, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and uncertainties as rule transfer_labels does."""
    return _answers(weighted_knn_labels(index, query, pd.RangeIndex(len(query)), K, THREADS))


def _answers(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return table["label"].to_numpy(dtype=str), 1 - table["confidence"].to_numpy()


def certified_share(reference: np.ndarray, query: np.ndarray, index, k: int) -> float:
    """Return the share of query cells whose k nearest are proved, without the bounds that the search keeps.

    All cells of every leaf whose box is not further than the k-th are measured in double precision:
    k - 1 must come before the k-th, by distance and position.
    """
    indices, distances = index.search(query, k, THREADS)
    positions, unit, n_leaf = (query - index.mean) @ index.axes * index.reach[1], index.reach[1], index.leaves.shape[2]
    proved = 0
    for position, cell, found, distance in zip(positions, query.astype(float), indices, distances, strict=True):
        bounds = np.linalg.norm(np.maximum(np.maximum(index.low.T - position, position - index.high.T), 0), axis=1)
        rows = (np.flatnonzero(bounds <= distance[-1] * unit + 1e-5)[:, None] * n_leaf + np.arange(n_leaf)).ravel()
        ids = index.ids[rows[rows < len(reference)]]
        others = np.sqrt(np.square(index.rows[rows[rows < len(reference)]] - cell).sum(axis=1))
        # numpy sums pairwise: cells within its rounding of the k-th are compared as sets.
        sure, within = ids[others < distance[-1] * (1 - 1e-12)], ids[others <= distance[-1] * (1 + 1e-12)]
        proved += np.isin(sure, found).all() and np.isin(found, within).all() and len(np.unique(found)) == k
    return proved / len(query)


def timed(function, *arguments):
    """Return what a function returns, and its seconds."""
    started = time.perf_counter()
    return function(*arguments), time.perf_counter() - started


def measured(data: Path, cache: Path, n_latent: int, n_query: int, n_reference: int) -> list[dict]:
    """Return a row for each side."""
    latent, names = real_latent(data, cache, n_latent)
    random = np.random.default_rng(0)
    held_out = random.random(len(latent)) < 0.3
    (reference, drawn), (query, _) = (
        resampled(latent, np.flatnonzero(part), n, random)
        for part, n in ((~held_out, n_reference), (held_out, n_query))
    )
    labels, file, table = (
        pd.Series(names[drawn]),
        str(cache / f"index_{n_latent}.npz"),
        str(cache / f"reference_{n_latent}.parquet"),
    )
    pd.DataFrame(reference, columns=[f"z{i}" for i in range(n_latent)]).to_parquet(table)
    made, building = timed(index_cells, reference, labels, 0)
    made.save(file, table)
    index = ReferenceIndex.load(file, table)
    sides: dict[str, tuple] = {
        "scArches": (by_scarches, reference, labels, query),
        "faiss flat": (by_faiss, reference, labels, query),
        "index": (by_index, index, query),
    }
    load: dict[str, tuple] = dict.fromkeys(sides, (pd.read_parquet, table)) | {
        "index": (ReferenceIndex.load, file, table)
    }
    left_out = ["scArches", "faiss flat"] if n_reference > N_REFERENCE else [] if find_spec("faiss") else ["faiss flat"]
    sides = {side: call for side, call in sides.items() if side not in left_out}
    for function, *arguments, cells in sides.values():
        function(*arguments, cells[:10])  # Imports and compilation, once per process or installation.
    found: dict[str, tuple] = {}
    rows = []
    for _ in range(REPEATS):
        for side, call in sides.items():
            loading = timed(*load[side])[1]
            found[side], seconds = timed(*call)
            rows.append({"side": side, "seconds": seconds, "loading": loading})
    times = {side: part[["seconds", "loading"]].to_numpy() for side, part in pd.DataFrame(rows).groupby("side")}
    medians = {side: np.median(part[:, 1]) for side, part in times.items()}
    reading = medians["scArches"] if "scArches" in sides else timed(pd.read_parquet, table)[1]
    print(
        f"{n_latent} dimensions: built in {building:.1f} s (with its logistic regression and local density),"
        f" {Path(file).stat().st_size / 1e6:.0f} MB, loaded in {medians['index']:.2f} s; the latent space alone is read"
        f" in {reading:.2f} s; certified share {certified_share(reference, query[:N_CERTIFIED], index.index, K):.4f}",
        flush=True,
    )
    return [summary(n_latent, side, times[side], times["index"], found, n_query) for side in sides]


def summary(n_latent: int, side: str, own: np.ndarray, of_index: np.ndarray, found: dict, n_query: int) -> dict:
    """Return the row of a side: speed, the speed-up by the index, without and with loading, and the agreement.

    Args:
        own: seconds of the search, and to load what it needs, of the side, by turn.
        of_index: the same of the index.
        found: labels and uncertainties by side.
    """

    def written(ratios: np.ndarray) -> str:
        return f"{np.median(ratios):.1f} ({ratios.min():.1f}–{ratios.max():.1f})"

    return {
        "dimensions": n_latent,
        "side": side,
        "cells/s": n_query / np.median(own[:, 0]),
        "ratio": written(own[:, 0] / of_index[:, 0]),
        "with loading": written(own.sum(axis=1) / of_index.sum(axis=1)),
        "same label": (found[side][0] == found["index"][0]).mean(),
        "uncertainty, largest difference": np.abs(found[side][1] - found["index"][1]).max(),
    }


def main() -> None:
    if not 3 <= len(sys.argv) <= 6:
        sys.exit(__doc__)
    data, cache = Path(sys.argv[1]), Path(sys.argv[2])
    n_query, n_reference = (
        int(sys.argv[i]) if len(sys.argv) > i else usual for i, usual in ((3, N_QUERY), (4, N_REFERENCE))
    )
    dimensions = [int(n) for n in sys.argv[5].split(",")] if len(sys.argv) > 5 else DIMENSIONS
    cache.mkdir(parents=True, exist_ok=True)
    print(
        f"{n_reference:,} reference cells, {n_query:,} query cells, k = {K}, {THREADS} threads; medians of {REPEATS}"
        " turns, ratios of one turn (with their range)"
    )
    print(
        ", ".join(f"{name} {version(name)}" for name in ("scarches", "scikit-learn", "numba", "numpy"))
        + f"; {platform.machine()}, {os.cpu_count()} cores",
        flush=True,
    )
    rows = [row for n_latent in dimensions for row in measured(data, cache, n_latent, n_query, n_reference)]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".5g"))


if __name__ == "__main__":
    main()
