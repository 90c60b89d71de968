"""The index of a reference's latent space that label transfer uses, made once and read by every query."""

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from refatlas.errors import InputError
from refatlas.io.fingerprints import sampled_sha256_of, sha256_of
from refatlas.io.mapped_arrays import map_arrays, write_arrays
from refatlas.neighbors.exact_index import LEAF, ExactIndex
from refatlas.transfer.label_table import draw_evenly
from refatlas.transfer.local_density import LocalDensity
from refatlas.transfer.logistic import Arrays, fit_scaled

VERSION = 2
# The checksum of the latent.parquet of which an index was made, by version of the index.
CHECKSUMS = {1: sha256_of, 2: sampled_sha256_of}
REMAKE = "delete it, and rule index_reference will make it again"
STRENGTH = 1.0
MAX_CELLS = 20_000
MIN_PER_LABEL = 100
# Query cells at a time, which bounds the memory.
BLOCK = 50_000


@dataclass
class ReferenceIndex:
    """The labelled cells of a reference.

    Attributes:
        index: of their latent space.
        names: the labels, sorted.
        codes: label of each cell, a position in `names`.
        logistic: logistic regression on the latent space, from `fit_scaled`.
        sample: latent space of the cells that outlier factors refer to, shape (n_sample, n_latent).
        density: of the sample; None in an index of version 1, or of one cell.
        n_reference: number of cells of the reference, labelled or not; None before it is saved.
    """

    index: ExactIndex
    names: np.ndarray
    codes: np.ndarray
    logistic: Arrays
    sample: np.ndarray
    density: LocalDensity | None = None
    n_reference: int | None = None

    def nearest(self, query: np.ndarray, k: int, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return the k nearest labelled cells of each query cell, exactly.

        Positions refer to the labelled cells in the order of the reference. If `is_complete`, these
        are the rows of latent.parquet, of umap.parquet and so on.

        Args:
            query: latent space of the query, shape (n_query, n_latent).

        Returns:
            Positions and distances, nearest first, each of shape (n_query, min(k, n_labelled)).
        """
        blocks = list(self.search_blocks(query, k, threads)) or [self.index.search(query, k, threads)]
        positions, distances = zip(*blocks, strict=True)
        return np.concatenate(positions), np.concatenate(distances)

    @property
    def is_complete(self) -> bool:
        """Whether all cells of the reference are labelled, and so in the index."""
        return self.n_reference == len(self.codes)

    def search_blocks(
        self, query: np.ndarray, k: int, threads: int = 1, block: int = BLOCK
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield positions and distances of the nearest cells, as `nearest` does, for `block` query cells at a time."""
        for start in range(0, len(query), block):
            yield self.index.search(query[start : start + block], k, threads)

    def labels(self) -> pd.Series:
        """Return the cells' labels as a categorical column."""
        return pd.Series(pd.Categorical.from_codes(self.codes, self.names))

    def save(self, path: str | Path, latent: str | Path) -> None:
        """Write the index to an npz file, with the checksum of the latent.parquet of which it was made."""
        arrays: dict[str, Any] = {
            f"index {field.name}": getattr(self.index, field.name) for field in fields(ExactIndex)
        }
        arrays |= {f"logistic {name}": values for name, values in self.logistic.items()}
        density = vars(self.density) if self.density else {}
        arrays |= {f"density {name}": values for name, values in density.items()}
        arrays |= {"names": self.names.astype(str), "codes": self.codes, "sample": self.sample}
        write_arrays(path, {"version": VERSION, "latent": CHECKSUMS[VERSION](latent), **arrays})

    @classmethod
    def load(cls, path: str | Path, latent: str | Path) -> "ReferenceIndex":
        """Return the index that `save` wrote, without unpickling. Its file is mapped into memory.

        Raises:
            InputError: the file is damaged, of another version, or of another latent.parquet.
        """
        arrays = _read(path)
        version = int(arrays.pop("version", 0))
        if version not in CHECKSUMS:
            expected = " or ".join(map(str, CHECKSUMS))
            raise InputError(f"{path}: format {version} found, expected {expected}; {REMAKE}")
        if str(arrays.pop("latent", "")) != CHECKSUMS[version](latent):
            raise InputError(f"{path}: it was not made of {latent}, whose checksum differs; {REMAKE}")
        parts = {
            kind: {name.split()[1]: arrays.pop(name) for name in list(arrays) if name.startswith(f"{kind} ")}
            for kind in ("index", "logistic", "density")
        }
        try:
            density = LocalDensity(**parts["density"]) if parts["density"] else None
            index, n_reference = ExactIndex(**parts["index"]), pq.read_metadata(latent).num_rows
            found = cls(index, logistic=parts["logistic"], density=density, n_reference=n_reference, **arrays)
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
            # A checksum protects them; that each occurs once is not looked up again.
            and 0 <= index.ids.min() <= index.ids.max() < n_cells
            and (self.density is None or all(len(part) == len(self.sample) for part in vars(self.density).values()))
            and 0 <= self.codes.min() <= self.codes.max() < len(self.names)
        )


def _read(path: str | Path) -> dict[str, np.ndarray]:
    try:
        return map_arrays(path)
    except (ValueError, EOFError, TypeError, AttributeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: it cannot be read as an index ({error}); {REMAKE}") from None


def index_cells(latent: np.ndarray, labels: pd.Series, seed: int) -> ReferenceIndex:
    """Return the index of labelled cells.

    Args:
        latent: latent space, shape (n_cells, n_latent).
        labels: label of each cell, none missing.
        seed: seed of the draw of cells for outlier factors.
    """
    codes, names = pd.factorize(labels.astype(str).to_numpy(dtype=object), sort=True)
    sample = latent[draw_evenly(codes, MAX_CELLS, MIN_PER_LABEL, seed)]
    return ReferenceIndex(
        ExactIndex.build(latent),
        names.astype(str),
        codes.astype(np.int32),
        fit_scaled(latent, labels, STRENGTH),
        sample,
        LocalDensity.measure(sample) if len(sample) > 1 else None,
    )
