"""Tells a damaged result from other errors: a job that fails looks once whether what it was to read can be read at all."""

import json
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.errors import InputError, shown

# Inputs of jobs that are the user's files, which say so themselves and which nobody should be told to delete.
THEIRS = ("files", "pretrained")


@contextmanager
def damage_told(inputs) -> Iterator[None]:
    """Turn an error within the block into an InputError, if one of the inputs that a rule wrote can no longer be read; any other error stays as it is.

    Args:
        inputs: of the job, a list of paths, which may have names (Snakemake's Namedlist).
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        theirs = {path for name in THEIRS for path in _paths(dict(inputs.items()).get(name, ()))} if hasattr(inputs, "items") else set()
        for path in sorted({str(path) for path in inputs if Path(path).is_file()} - theirs):
            if reason := damage(path):
                traceback.print_exc()
                raise InputError(f"{path} is damaged ({reason}); delete it and run again: the rule that writes it then makes it anew") from error
        raise


def _paths(value) -> list[str]:
    return [str(value)] if isinstance(value, str | Path) else [str(path) for path in value]


def damage(path: str) -> str:
    """Return why a table, JSON file, file of arrays or of counts cannot be read; "" if it can, and for files of other kinds."""
    try:
        _read_whole(path)
    except Exception as error:  # noqa: BLE001  (each library has errors of its own for a damaged file)
        return f"{type(error).__name__}: {shown(error, 200)}"
    return ""


def _read_whole(path: str) -> None:
    import anndata
    import numpy as np
    import pandas as pd

    kind = Path(path).suffix
    if kind == ".json":
        json.loads(Path(path).read_text(encoding="utf-8"))
    elif kind == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            dict(arrays)
    elif kind in (readers := {".parquet": pd.read_parquet, ".csv": pd.read_csv, ".h5ad": anndata.read_h5ad}):
        readers[kind](path)
