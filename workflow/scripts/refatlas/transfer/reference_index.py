"""The index of a reference's latent space that label transfer uses, made once and read by every query."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path
from refatlas.io.fingerprints import sha256_of
from refatlas.neighbors.exact_index import LEAF, ExactIndex
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.logistic import Arrays, fit_scaled

VERSION = 1
REMAKE = "delete it, and rule index_reference will make it again"
STRENGTH = 1.0
MAX_CELLS = 20_000
MIN_PER_LABEL = 100


@dataclass
class ReferenceIndex:
    """The labelled cells of a reference.

    Attributes:
        index: of their latent space.
        names: the labels, sorted.
        codes: label of each cell, a position in `names`.
        logistic: logistic regression on the latent space, from `fit_scaled`.
        sample: latent space of the cells that outlier factors refer to, shape (n_sample, n_latent).
    """

    index: ExactIndex
    names: np.ndarray
    codes: np.ndarray
    logistic: Arrays
    sample: np.ndarray

    def labels(self) -> pd.Series:
        """Return the cells' labels as a categorical column."""
        return pd.Series(pd.Categorical.from_codes(self.codes, self.names))

    def save(self, path: str | Path, latent: str | Path) -> None:
        """Write the index to an npz file, with the checksum of the latent.parquet of which it was made."""
        arrays: dict[str, Any] = {
            f"index {field.name}": getattr(self.index, field.name) for field in fields(ExactIndex)
        }
        arrays |= {f"logistic {name}": values for name, values in self.logistic.items()}
        arrays |= {"names": self.names.astype(str), "codes": self.codes, "sample": self.sample}
        with atomic_path(path) as part, open(part, "wb") as stream:
            np.savez(stream, version=VERSION, latent=sha256_of(latent), **arrays)

    @classmethod
    def load(cls, path: str | Path, latent: str | Path) -> "ReferenceIndex":
        """Return the index that `save` wrote, without unpickling.

        Raises:
            InputError: the file is damaged, of another version, or of another latent.parquet.
        """
        # Both take about as long, and neither holds Python's global lock.
        with ThreadPoolExecutor(1) as beside:
            checksum = beside.submit(sha256_of, latent)
            arrays = _read(path)
        version = int(arrays.pop("version", 0))
        if version != VERSION:
            raise InputError(f"{path}: format {version} found, expected {VERSION}; {REMAKE}")
        if str(arrays.pop("latent", "")) != checksum.result():
            raise InputError(f"{path}: it was not made of {latent}, whose checksum differs; {REMAKE}")
        parts = {
            kind: {name.split()[1]: arrays.pop(name) for name in list(arrays) if name.startswith(f"{kind} ")}
            for kind in ("index", "logistic")
        }
        try:
            found = cls(index=ExactIndex(**parts["index"]), logistic=parts["logistic"], **arrays)
        except TypeError as error:
            raise InputError(f"{path}: it lacks a part, or has one too many ({error}); {REMAKE}") from None
        if not found._fits():
            raise InputError(f"{path}: its parts do not fit each other; {REMAKE}")
        return found

    def _fits(self) -> bool:
        """Return whether shapes and positions are valid; the compiled search does not check them."""
        index, n_cells = self.index, len(self.codes)
        n_leaves, n_latent = -(-n_cells // LEAF), index.mean.size
        shapes = {
            "rows": (n_cells, n_latent),
            "ids": (n_cells,),
            "leaves": (n_leaves, n_latent, LEAF),
            "low": (n_latent, n_leaves),
            "high": (n_latent, n_leaves),
        }
        return (
            all(getattr(index, name).shape == shape for name, shape in shapes.items())
            and index.axes.shape == (n_latent, n_latent)
            and np.array_equal(np.sort(index.ids), np.arange(n_cells))
            and 0 <= self.codes.min() <= self.codes.max() < len(self.names)
        )


def _read(path: str | Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: it cannot be read as an index ({error}); {REMAKE}") from None


def index_cells(latent: np.ndarray, labels: pd.Series, seed: int) -> ReferenceIndex:
    """Return the index of labelled cells.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        labels: label of each cell, none missing.
        seed: seed of the draw of cells for outlier factors.
    """
    names, codes = np.unique(labels.astype(str).to_numpy(), return_inverse=True)
    sample = latent[draw_evenly(codes, MAX_CELLS, MIN_PER_LABEL, seed)]
    return ReferenceIndex(
        ExactIndex.build(latent),
        names.astype(str),
        codes.astype(np.int32),
        fit_scaled(latent, labels, STRENGTH),
        sample,
    )
