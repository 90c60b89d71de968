"""Tells a damaged result of an earlier job from other errors: a job that fails checks once whether
its inputs can be read.
"""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.errors import InputError, shown

# Inputs that are the user's own files: their readers report damage themselves, and nobody should be
# told to delete them.
USER_INPUTS = ("files", "pretrained")
# A larger file is checked in parts: a check must never need more memory than the job.
BLOCK_VALUES = 1_000_000


@contextmanager
def report_damaged_inputs(inputs) -> Iterator[None]:
    """Turn an error of the block into an InputError if a file that another rule wrote can no longer
    be read.

    Any other error stays as it is. The traceback is printed first. A lack of memory is no damage,
    and is not looked into.

    Args:
        inputs: of the job, a list of paths, which may have names (Snakemake's Namedlist).
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        traceback.print_exc()
        for path in _own_inputs(inputs):
            if reason := find_damage(path):
                raise InputError(
                    f"{path} is damaged ({reason}); delete it and run again: its rule then writes it anew"
                ) from error
        raise


def _own_inputs(inputs) -> list[str]:
    """Return the existing input files that are not the user's own."""
    named = dict(inputs.items()) if hasattr(inputs, "items") else {}
    users = {path for name in USER_INPUTS for path in _paths(named.get(name, ()))}
    return sorted({str(path) for path in inputs if Path(path).is_file()} - users)


def _paths(value) -> list[str]:
    return [str(value)] if isinstance(value, str | Path) else [str(path) for path in value]


def find_damage(path: str) -> str:
    """Return why a table, JSON file, file of arrays or of counts cannot be read; "" if it can, and
    for files of other kinds.
    """
    try:
        _read_in_parts(path)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  (each library has its own errors for a damaged file)
        return f"{type(error).__name__}: {shown(error, 200)}"
    return ""


def _read_in_parts(path: str) -> None:
    """Read a file of results once, without keeping more than a part of it in memory."""
    readers = {
        ".json": _read_json,
        ".npz": _read_arrays,
        ".parquet": _read_parquet,
        ".csv": _read_csv,
        ".h5ad": _read_hdf5,
    }
    if reader := readers.get(Path(path).suffix):
        reader(path)


def _read_json(path: str) -> None:
    json.loads(Path(path).read_text(encoding="utf-8"))


def _read_arrays(path: str) -> None:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            arrays[name]


def _read_parquet(path: str) -> None:
    from pyarrow import parquet

    for _ in parquet.ParquetFile(path).iter_batches():
        pass


def _read_csv(path: str) -> None:
    import pandas as pd

    for _ in pd.read_csv(path, chunksize=BLOCK_VALUES // 10):
        pass


def _read_hdf5(path: str) -> None:
    import h5py

    def read(_, element) -> None:
        if isinstance(element, h5py.Dataset):
            for start in range(0, len(element) if element.shape else 0, BLOCK_VALUES):
                element[start : start + BLOCK_VALUES]

    with h5py.File(path, "r") as file:
        file.visititems(read)
