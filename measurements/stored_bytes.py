"""Bytes of the counts.h5ad that a run wrote (of reference, folds and queries), against those of the raw counts that it
read.

usage: .venv/bin/python measurements/stored_bytes.py WORK [CONFIG.yaml]
    WORK   folder of a run, or of its counts alone:
           snakemake ... results/reference/counts.h5ad results/evaluation/fold_1/counts.h5ad
           results/evaluation/fold_1/heldout/counts.h5ad results/queries/QUERY/counts.h5ad
"""

import os
import sys
from pathlib import Path

import h5py
import yaml

from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets
from refatlas.io.formats import input_files
from refatlas.io.raw_counts import open_row

# Bytes of a stored value in CSR as most files have it: a float32 and an int32.
PLAIN = 8


def matrix_bytes(path: str, location: str) -> int:
    """Return how many bytes of a file its counts take."""
    if ".mtx" in (matrix := input_files(path)[0]):
        return os.path.getsize(matrix)
    with h5py.File(path) as file:
        found = file[location]
        arrays = [found] if isinstance(found, h5py.Dataset) else [found[name] for name in ("data", "indices", "indptr")]
        return sum(array.id.get_storage_size() for array in arrays)


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    work = Path(sys.argv[1])
    config = Path(sys.argv[2] if len(sys.argv) == 3 else work / "config.yaml").resolve()
    os.chdir(work)
    raw = {"values": 0, "bytes": 0}
    for rows in load_sheets(complete_config(yaml.safe_load(config.read_text()))):
        for row in rows.values():
            file = open_row(row, counts_only=True)
            raw["values"] += int(file.rows.ends[-1])
            raw["bytes"] += matrix_bytes(row["path"], file.location)
    stores = sorted(Path("results").glob("**/counts.h5ad"))
    written = {str(path.relative_to("results")): matrix_bytes(str(path), "X") for path in stores}
    for path, n in written.items():
        print(f"{path}: {n / 1e6:.2f} MB")
    total, plain = sum(written.values()), PLAIN * raw["values"]
    print(
        f"written {total / 1e6:.2f} MB; raw counts {raw['values']} values: {plain / 1e6:.2f} MB not compressed (ratio"
        f" {total / plain:.2f}), {raw['bytes'] / 1e6:.2f} MB as they lie (ratio {total / raw['bytes']:.2f})"
    )


if __name__ == "__main__":
    main()
