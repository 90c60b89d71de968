"""What transfer of labels needs of a reference's latent space, made once: an index of its labelled
cells, their labels, a logistic regression, a sample for outliers.
"""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path
from refatlas.io.fingerprints import sha256_of
from refatlas.neighbors.exact_index import LEAF, ExactIndex
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.logistic import fit_scaled

VERSION = 1
REMAKE = "delete it, and Snakemake makes it anew (rule index_reference)"
STRENGTH = 1.0
MAX_CELLS = 20_000
MIN_PER_LABEL = 100


@dataclass
class ReferenceIndex:
    """The labelled cells of a reference.

    Attributes:
        index: of their latent space. names: the labels, sorted. codes: the label of each cell, a
            place in `names`.
        logistic: of `fit_scaled`. sample: latent space of the cells that outliers are told by.
    """

    index: ExactIndex
    names: np.ndarray
    codes: np.ndarray
    logistic: dict[str, np.ndarray]
    sample: np.ndarray

    def labels(self) -> pd.Series:
        """Return the cells' labels as a categorical column."""
        return pd.Series(pd.Categorical.from_codes(self.codes, self.names))

    def save(self, path: str, latent: str) -> None:
        """Write everything to an npz, with the checksum of the latent.parquet that it was made of."""
        arrays = {f"index {field.name}": getattr(self.index, field.name) for field in fields(ExactIndex)}
        arrays |= {f"logistic {name}": values for name, values in self.logistic.items()}
        arrays |= {"names": self.names.astype(str), "codes": self.codes, "sample": self.sample}
        with atomic_path(path) as part, open(part, "wb") as stream:
            np.savez(stream, version=VERSION, latent=sha256_of(latent), **arrays)

    @classmethod
    def load(cls, path: str, latent: str) -> "ReferenceIndex":
        """Return what `save` wrote, without running code.

        Raises:
            InputError: the file is damaged, of another version, or of another latent.parquet.
        """
        # Each takes about as long as the other, and neither holds Python's lock.
        with ThreadPoolExecutor(1) as beside:
            checksum = beside.submit(sha256_of, latent)
            arrays = _read(path)
        version = int(arrays.pop("version", 0))
        if version != VERSION:
            raise InputError(f"{path}: it is of format {version}, expected {VERSION}; {REMAKE}")
        if str(arrays.pop("latent", "")) != checksum.result():
            raise InputError(f"{path}: it was not made of {latent}, whose checksum is another; {REMAKE}")
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
        """Return whether shapes and places are such that the compiled search, which does not check
        them, stays within the arrays.
        """
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


def _read(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: it cannot be read as an index ({error}); {REMAKE}") from None


def index_cells(latent: np.ndarray, labels: pd.Series, seed: int) -> ReferenceIndex:
    """Return the index of labelled cells; `latent` has shape (n_cells, n_latent)."""
    names, codes = np.unique(labels.astype(str).to_numpy(), return_inverse=True)
    sample = latent[draw_evenly(codes, MAX_CELLS, MIN_PER_LABEL, seed)]
    return ReferenceIndex(
        ExactIndex.build(latent),
        names.astype(str),
        codes.astype(np.int32),
        fit_scaled(latent, labels, STRENGTH),
        sample,
    )
