"""Which files a path in a sheet stands for. Light: Snakemake imports it at every start."""

import os
from pathlib import Path

MTX_FILES = {
    "matrix": ("matrix.mtx.gz", "matrix.mtx"),
    "features": ("features.tsv.gz", "genes.tsv", "features.tsv", "genes.tsv.gz"),
    "barcodes": ("barcodes.tsv.gz", "barcodes.tsv"),
}


def is_mtx(path: str) -> bool:
    """Tell whether a path is a 10x mtx folder, or will be one: a folder that is no zarr, or a name
    without a file's ending.
    """
    if os.path.exists(path):
        return os.path.isdir(path) and not any(
            (Path(path) / name).exists() for name in (".zgroup", "zarr.json", ".zattrs")
        )
    return not path.endswith((".h5ad", ".h5mu", ".h5", ".zarr"))


def mtx_files(folder: str) -> dict[str, str]:
    """Return the paths of a 10x mtx folder's three files: those that exist, or the names that Cell
    Ranger gives them.
    """
    found = {}
    for part, names in MTX_FILES.items():
        present = [name for name in names if (Path(folder) / name).exists()]
        found[part] = str(Path(folder) / (present or names)[0])
    return found


def zarr_files(path: str) -> list[str]:
    """Return the files of a zarr that describe its arrays: writing an array writes them. None for
    what is no folder.

    Without those of arrays in whose names Snakemake would look for placeholders.
    """
    found = (
        str(Path(folder) / name)
        for folder, _, names in os.walk(path)
        for name in names
        if name in ("zarr.json", ".zarray", ".zattrs", ".zgroup")
    )
    return sorted(file for file in found if not set("{}<>") & set(file))
