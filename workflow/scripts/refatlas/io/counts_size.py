"""The size of counts in an h5ad of `refatlas.io.model_counts`, without loading them.

Light: Snakemake computes the memory of jobs from it, in an environment that may lack the packages
of the jobs.
"""

from pathlib import Path

# Memory of a cell's name and columns.
OBS_BYTES = 300


def n_values_and_cells(path: str | Path) -> tuple[int, int]:
    """Return the numbers of stored values and of cells."""
    import h5py

    with h5py.File(path, "r") as file:
        return len(file["X/data"]), len(file["X/indptr"]) - 1


def memory_mb(path: str | Path) -> float:
    """Return how many MB the counts in a file take when they are loaded.

    Values take 4 bytes, their columns 4 (8 beyond 2^31 values), and a cell OBS_BYTES.
    """
    n_values, n_cells = n_values_and_cells(path)
    return (n_values * (8 if n_values < 2**31 else 12) + n_cells * OBS_BYTES) / 1e6


def n_cells_of(path: str | Path) -> int:
    """Return the number of cells."""
    return n_values_and_cells(path)[1]
