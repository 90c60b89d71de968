"""Embeddings of cells that were made elsewhere, read from the users' files."""

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.count_file import CountFile


def read_embedding(file: CountFile, key: str, cells: pd.Index, where: str) -> pd.DataFrame:
    """Return the embedding of a file's cells, float32, with one column per dimension.

    Args:
        file: of the counts.
        key: its name in obsm, with or without "obsm/" before it.
        cells: names of the file's cells in the results.
        where: the config's key and the file, for messages.

    Raises:
        InputError: the file has no such embedding, or its values are no finite numbers.
    """
    name = key.removeprefix("obsm/")
    if name not in file.spaces:
        raise InputError(
            f"{where}: {file.path} has no {name!r} in obsm; it has {listed(file.spaces, 20)}; write the embedding of"
            " its cells into the file (h5ad, h5mu or zarr), or correct the key"
        )
    values = file.read_space(name)
    if values.ndim != 2 or len(values) != len(cells) or values.shape[1] < 2:
        raise InputError(
            f"{where}: {name!r} of {file.path} has shape {values.shape}; an embedding has a row for each of the"
            f" {len(cells)} cells and at least 2 columns"
        )
    if not np.issubdtype(values.dtype, np.number):
        raise InputError(f"{where}: {name!r} of {file.path} holds {values.dtype}; an embedding holds numbers")
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{where}: {name!r} of {file.path} has values that are not finite in {int(wrong.sum())} cells"
            f" ({listed(cells[wrong], 3)}); compute the embedding of all cells, or leave these out"
        )
    return pd.DataFrame(
        values.astype(np.float32), index=cells, columns=[f"dim_{i + 1}" for i in range(values.shape[1])]
    )


def require_same_dimensions(n_dimensions: int, others: dict[str, int], where: str) -> None:
    """Raise an InputError if an embedding has other dimensions than that of a dataset.

    Args:
        others: number of dimensions by dataset.
        where: the config's key and the file, for the message.
    """
    for name, n in others.items():
        if n != n_dimensions:
            raise InputError(
                f"{where}: the embedding has {n_dimensions} dimensions, and that of dataset {name!r} has {n}; compute"
                " both by the same model"
            )
