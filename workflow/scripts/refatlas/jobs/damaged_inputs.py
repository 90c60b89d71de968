"""Damaged results of earlier jobs: a job that fails checks whether its inputs can be read."""

import json
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from refatlas.errors import InputError, shown

# Names of inputs that are the user's own files: their readers report damage, and nobody should be
# told to delete them.
USER_INPUTS = ("files", "pretrained", "annotation", "label_map", "exclude")
# Files are read in blocks of this many values: the check must not need more memory than the job.
BLOCK_VALUES = 1_000_000


@contextmanager
def report_damaged_inputs(inputs: Any) -> Iterator[None]:
    """Raise an InputError in place of any other error if a file of results is damaged.

    The traceback is printed first. Other errors are raised again. Inputs are not read after an
    InputError or a MemoryError.

    Args:
        inputs: paths, which may have names: the job's `input`.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        traceback.print_exc()
        for path in _results(inputs) if not isinstance(error, MemoryError) else ():
            if reason := find_damage(path):
                raise InputError(
                    f"{path} is damaged ({reason}); delete it and run the same command again: its rule writes it anew"
                ) from error
        raise


def _results(inputs: Any) -> list[str]:
    """Return the existing input files that rules have written."""
    named = dict(inputs.items()) if hasattr(inputs, "items") else {}
    users = {path for name in USER_INPUTS for path in _paths(named.get(name, ()))}
    return sorted({str(path) for path in inputs if Path(path).is_file()} - users)


def _paths(value: Any) -> list[str]:
    return [str(value)] if isinstance(value, str | Path) else [str(path) for path in value]


def find_damage(path: str) -> str:
    """Return why a file of results cannot be read; "" if it can.

    Known are tables (parquet, csv), JSON, arrays (npz) and counts (h5ad). Others are not read.
    """
    readers = {
        ".json": _read_json,
        ".npz": _read_arrays,
        ".parquet": _read_parquet,
        ".csv": _read_csv,
        ".h5ad": _read_hdf5,
    }
    reader = readers.get(Path(path).suffix)
    try:
        if reader:
            reader(path)
    except MemoryError:
        # Nothing is known of this file. The job's own error is what the user has to see.
        return ""
    except Exception as error:  # noqa: BLE001  (each library has its own errors for a damaged file)
        return f"{type(error).__name__}: {shown(error, 200)}"
    return ""


def _read_json(path: str) -> None:
    json.loads(Path(path).read_text(encoding="utf-8"))


def _read_arrays(path: str) -> None:
    with zipfile.ZipFile(path) as file:
        # Compares checksums, a block at a time.
        if name := file.testzip():
            raise zipfile.BadZipFile(f"wrong checksum of {name}")


def _read_parquet(path: str) -> None:
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        n_columns = max(1, len(file.schema_arrow))
        for _ in file.iter_batches(max(1, BLOCK_VALUES // n_columns)):
            pass


def _read_csv(path: str) -> None:
    import pandas as pd

    for _ in pd.read_csv(path, chunksize=BLOCK_VALUES // 10):
        pass


def _read_hdf5(path: str) -> None:
    import h5py

    def read(_: str, element: Any) -> None:
        if not isinstance(element, h5py.Dataset) or not element.shape or not element.size:
            return
        step = max(1, BLOCK_VALUES * len(element) // element.size)
        for start in range(0, len(element), step):
            element[start : start + step]

    with h5py.File(path, "r") as file:
        file.visititems(read)
