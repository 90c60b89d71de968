"""The files that a path in a sheet stands for. Light: Snakemake imports it at every start."""

import os
from pathlib import Path

MTX_FILES = {
    "matrix": ("matrix.mtx.gz", "matrix.mtx"),
    "features": ("features.tsv.gz", "genes.tsv", "features.tsv", "genes.tsv.gz"),
    "barcodes": ("barcodes.tsv.gz", "barcodes.tsv"),
}


def is_mtx(path: str) -> bool:
    """Return whether a path is a 10x mtx folder, or will be one.

    That is a folder that is no zarr, or a path that does not exist and has no known suffix.
    """
    if os.path.exists(path):
        return os.path.isdir(path) and not any(
            (Path(path) / name).exists() for name in (".zgroup", "zarr.json", ".zattrs")
        )
    return not path.endswith((".h5ad", ".h5mu", ".h5", ".zarr"))


def mtx_files(folder: str) -> dict[str, str]:
    """Return the paths of matrix, features and barcodes of a 10x mtx folder.

    A file that does not exist gets the name that Cell Ranger gives it.
    """
    found = {}
    for part, names in MTX_FILES.items():
        present = [name for name in names if (Path(folder) / name).exists()]
        found[part] = str(Path(folder) / (present or names)[0])
    return found


def zarr_files(path: str) -> list[str]:
    """Return the metadata files of a zarr, which change whenever an array is written.

    Returns none for what is no folder, and leaves out arrays in whose names Snakemake would look
    for placeholders.
    """
    found = (
        str(Path(folder) / name)
        for folder, _, names in os.walk(path)
        for name in names
        if name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    )
    return sorted(file for file in found if not set("{}<>") & set(file))
