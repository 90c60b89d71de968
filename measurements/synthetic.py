"""Synthetic counts of any size as h5ad, the same for the same arguments on any machine. Only a block of cells is in
memory at a time.

usage: .venv/bin/python measurements/synthetic.py OUT.h5ad CELLS GENES [--batches 10] [--density 0.05]
[--seed 0] [--labels 8] [--block 50000] [--compression gzip] [--shuffled]

Counts of a gene in a cell are negative binomial (as a Poisson number of logarithmic bursts,
Quenouille 1949): gene means are log-normal, depths of cells log-normal, and both the batch and
the label of a cell multiply the means of genes by log-normal factors, so that genes vary within
batches, and batches differ. X is CSR, float32 and int32, as anndata writes it.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from numba import njit, prange

BLOCK = 50_000
GENE_SPREAD, DEPTH_SPREAD, BATCH_SPREAD, LABEL_SPREAD = 1.5, 0.4, 0.3, 0.8
LABELLING_SHARE = 0.2
# Of the logarithmic distribution of bursts: the variance of counts is 1 / (1 - BURST) times their
# mean.
BURST = 0.6


@dataclass
class Recipe:
    """What cells are drawn from.

    Attributes:
        bursts: expected bursts of a cell of depth 1, by profile (batch × n_labels + label). cutoff,
            alias: tables of Walker's alias method, each of shape (n_profiles, n_genes).
        shuffled: batches follow at random, as in files that were put together; otherwise one after
            the other.
    """

    n_cells: int
    n_batches: int
    n_labels: int
    seed: int
    shuffled: bool
    bursts: np.ndarray
    cutoff: np.ndarray
    alias: np.ndarray

    def profiles(self, start: int, stop: int) -> np.ndarray:
        """Return the profile of each cell of a range."""
        cells = np.arange(start, stop)
        batches = (
            _hashed(cells, self.seed, 1) % np.uint64(self.n_batches)
            if self.shuffled
            else cells * self.n_batches // self.n_cells
        )
        return batches.astype(np.int64) * self.n_labels + (
            _hashed(cells, self.seed, 2) % np.uint64(self.n_labels)
        ).astype(np.int64)

    def depths(self, start: int, stop: int) -> np.ndarray:
        """Return the relative depth of each cell of a range, log-normal with median 1."""
        return np.exp(DEPTH_SPREAD * _normal(np.arange(start, stop), self.seed, 3))


def recipe(
    n_cells: int,
    n_genes: int,
    n_batches: int = 10,
    density: float = 0.05,
    seed: int = 0,
    n_labels: int = 8,
    shuffled: bool = False,
) -> Recipe:
    """Return how to draw cells whose share of stored values is `density` on average."""
    random = np.random.default_rng([seed, n_genes, n_batches, n_labels])
    genes = random.normal(0, GENE_SPREAD, n_genes)
    marks = random.normal(0, LABEL_SPREAD, (n_labels, n_genes)) * (random.random(n_genes) < LABELLING_SHARE)
    shares = np.exp(genes + random.normal(0, BATCH_SPREAD, (n_batches, 1, n_genes)) + marks).reshape(-1, n_genes)
    shares /= shares.sum(axis=1, keepdims=True)
    tables = [_alias_table(profile) for profile in shares]
    bursts = np.full(len(shares), _bursts_of_density(shares[:: max(len(shares) // 16, 1)], density))
    return Recipe(
        n_cells,
        n_batches,
        n_labels,
        seed,
        shuffled,
        bursts,
        np.stack([t[0] for t in tables]),
        np.stack([t[1] for t in tables]),
    )


def _bursts_of_density(shares: np.ndarray, density: float) -> float:
    """Return how many bursts a cell of depth 1 needs so that cells of all depths have `density` of
    the genes on average, by bisection.
    """
    depths = np.exp(DEPTH_SPREAD * np.linspace(-2.5, 2.5, 21))
    weights = np.exp(-(np.linspace(-2.5, 2.5, 21) ** 2) / 2)
    low, high = 0.0, 1e9
    for _ in range(80):
        middle = (low + high) / 2
        seen = np.array([-np.expm1(-middle * depth * shares).mean() for depth in depths])
        low, high = (low, middle) if np.average(seen, weights=weights) > density else (middle, high)
    return high


@njit(cache=True)
def _alias_table(shares):
    n = len(shares)
    cutoff, alias = np.ones(n, dtype=np.float32), np.arange(n).astype(np.int32)
    scaled = shares * n
    small, large = [i for i in range(n) if scaled[i] < 1], [i for i in range(n) if scaled[i] >= 1]
    while len(small) and len(large):
        less, more = small.pop(), large.pop()
        cutoff[less], alias[less] = scaled[less], more
        scaled[more] -= 1 - scaled[less]
        (small if scaled[more] < 1 else large).append(more)
    return cutoff, alias


def _hashed(cells: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Return a random 64-bit number for each cell, by its place alone (splitmix64)."""
    x = cells.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        (seed * 0x632BE59BD9B4E019 + stream * 0xD1342543DE82EF95) % 2**64
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x ^ (x >> np.uint64(31))


def _normal(cells: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """Return a standard normal number for each cell (Box and Muller 1958)."""
    one, two = ((_hashed(cells, seed, stream + i * 16) >> np.uint64(11)).astype(np.float64) / 2**53 for i in (0, 1))
    return np.sqrt(-2 * np.log1p(-one)) * np.cos(2 * np.pi * two)


@njit(cache=True, inline="always")
def _next(state):
    state = state ^ (state << np.uint64(13))
    state = state ^ (state >> np.uint64(7))
    return state ^ (state << np.uint64(17))


@njit(cache=True, parallel=True)
def _draw(seeds, profiles, lengths_of_bursts, n_bursts, cutoff, alias, lengths, starts, indices, data):
    """Draw every cell from its own seed; fill in how many genes it has or, where `starts` are
    given, its genes and counts.
    """
    n_genes = cutoff.shape[1]
    for cell in prange(len(seeds)):
        state, profile = seeds[cell] | np.uint64(1), profiles[cell]
        counts = np.zeros(n_genes, dtype=np.int32)
        flags = np.zeros(n_genes // 64 + 1, dtype=np.uint64)
        for _ in range(n_bursts[cell]):
            state = _next(state)
            place = np.int64(((state >> np.uint64(32)) * np.uint64(n_genes)) >> np.uint64(32))
            gene = np.int64(
                place
                if np.float32(state & np.uint64(0xFFFF)) < cutoff[profile, place] * np.float32(65536)
                else alias[profile, place]
            )
            counts[gene] += lengths_of_bursts[np.int64((state >> np.uint64(16)) & np.uint64(0xFFF))]
            flags[gene >> 6] |= np.uint64(1) << np.uint64(gene & 63)
        found = 0
        for word in range(len(flags)):
            if flags[word]:
                for gene in range(word * 64, min(word * 64 + 64, n_genes)):
                    if counts[gene]:
                        if len(starts):
                            indices[starts[cell] + found], data[starts[cell] + found] = gene, counts[gene]
                        found += 1
        lengths[cell] = found


def _bursts() -> np.ndarray:
    """Return the lengths of 4,096 bursts in the shares that the logarithmic distribution gives
    them.
    """
    lengths = np.arange(1, 200)
    cumulative = np.cumsum(-(BURST**lengths) / lengths / np.log1p(-BURST))
    return (np.searchsorted(cumulative, (np.arange(4096) + 0.5) / 4096) + 1).astype(np.int32)


def drawn(made: Recipe, start: int, stop: int, lengths: np.ndarray | None = None):
    """Return the number of genes of each cell of a range or, where these are given, the cells'
    genes and counts one after the other.
    """
    profiles, depths = made.profiles(start, stop), made.depths(start, stop)
    means = made.bursts[profiles] * depths
    n_bursts = np.maximum(np.rint(means + np.sqrt(means) * _normal(np.arange(start, stop), made.seed, 5)), 1).astype(
        np.int64
    )
    counting = lengths is None
    starts = np.zeros(0, dtype=np.int64) if counting else np.cumsum(lengths) - lengths
    n_values = 0 if counting else int(lengths.sum())
    indices, data, found = (
        np.empty(n_values, dtype=np.int32),
        np.empty(n_values, dtype=np.float32),
        np.empty(stop - start, dtype=np.int64),
    )
    _draw(
        _hashed(np.arange(start, stop), made.seed, 7),
        profiles,
        _bursts(),
        n_bursts,
        made.cutoff,
        made.alias,
        found,
        starts,
        indices,
        data,
    )
    return found if counting else (indices, data)


def write(path: str, made: Recipe, block: int = BLOCK, compression: str | None = None) -> int:
    """Write the cells of a recipe to h5ad, in two turns (the first counts, so that arrays lie in
    the file as anndata lays them); return the number of stored values.
    """
    steps = [(start, min(start + block, made.n_cells)) for start in range(0, made.n_cells, block)]
    lengths = np.concatenate([drawn(made, *step) for step in steps])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    with h5py.File(path, "w") as file:
        for key, value in (("encoding-type", "anndata"), ("encoding-version", "0.1.0")):
            file.attrs[key] = value
        matrix = file.create_group("X")
        for key, value in (
            ("encoding-type", "csr_matrix"),
            ("encoding-version", "0.1.0"),
            ("shape", np.array([made.n_cells, made.cutoff.shape[1]])),
        ):
            matrix.attrs[key] = value
        matrix.create_dataset(
            "indptr", data=indptr if indptr[-1] >= 2**31 else indptr.astype(np.int32), compression=compression
        )
        stored = {
            name: matrix.create_dataset(name, indptr[-1:], dtype=kind, compression=compression)
            for name, kind in (("indices", np.int32), ("data", np.float32))
        }
        for start, stop in steps:
            part = slice(indptr[start], indptr[stop])
            stored["indices"][part], stored["data"][part] = drawn(made, start, stop, lengths[start:stop])
        _write_tables(file, made)
    return int(indptr[-1])


def _write_tables(file: h5py.File, made: Recipe) -> None:
    profiles = made.profiles(0, made.n_cells)
    names = {
        "batch": [f"batch{i}" for i in range(made.n_batches)],
        "cell_type": [f"type{i}" for i in range(made.n_labels)],
    }
    codes = {"batch": profiles // made.n_labels, "cell_type": profiles % made.n_labels}
    obs = pd.DataFrame({key: pd.Categorical.from_codes(codes[key], names[key]) for key in names})
    write_elem(file, "obs", obs.set_axis(pd.Index([f"c{i}" for i in range(made.n_cells)])))
    write_elem(file, "var", pd.DataFrame(index=[f"G{i}" for i in range(made.cutoff.shape[1])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    for name in ("cells", "genes"):
        parser.add_argument(name, type=int)
    for name, default in (("batches", 10), ("density", 0.05), ("seed", 0), ("labels", 8), ("block", BLOCK)):
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--compression", choices=["gzip", "lzf"])
    parser.add_argument("--shuffled", action="store_true")
    given = parser.parse_args()
    made = recipe(given.cells, given.genes, given.batches, given.density, given.seed, given.labels, given.shuffled)
    n_values = write(given.out, made, given.block, given.compression)
    print(
        f"{given.out}: {given.cells} cells × {given.genes} genes, {n_values} values, density"
        f" {n_values / given.cells / given.genes:.4f}"
    )


if __name__ == "__main__":
    main()
