"""Values that are no raw counts: negative, fractional or not finite."""

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed


class WrongValues:
    """Values that are no counts, collected over blocks, so that the error names every batch.

    Attributes:
        batches: number of such values in each batch that has any.
        kinds: an example of each kind.
    """

    def __init__(self) -> None:
        self.batches: dict[str, int] = {}
        self.kinds: dict[str, str] = {}

    def add(self, block: sparse.csr_matrix, batches: np.ndarray, barcodes: np.ndarray, genes: np.ndarray) -> None:
        """Add the wrong values of a block.

        Args:
            batches, barcodes: of the block's cells.
            genes: names of all columns.
        """
        data = block.data
        finite = np.isfinite(data)
        checks = {
            "not finite": ~finite,
            "negative": finite & (data < 0),
            "not an integer": finite & (data != np.rint(data)),
        }
        bad = np.zeros(len(data), dtype=bool)
        for kind, found in checks.items():
            if found.any():
                place = int(np.argmax(found))
                cell = int(np.searchsorted(block.indptr, place, side="right")) - 1
                self.kinds.setdefault(
                    kind, f"{data[place]:g} is {kind} (cell {barcodes[cell]!r}, gene {genes[block.indices[place]]!r})"
                )
                bad |= found
        if bad.any():
            by_cell = np.diff(np.concatenate([[0], np.cumsum(bad)])[block.indptr])
            for batch, n in pd.Series(by_cell).groupby(batches).sum().items():
                if n:
                    self.batches[str(batch)] = self.batches.get(str(batch), 0) + int(n)

    def refuse(self, where: str) -> None:
        """Raise an InputError if there was any wrong value.

        Args:
            where: dataset, file and matrix, for the message.
        """
        if not self.batches:
            return
        found = "; ".join(self.kinds.values())
        batches = listed([f"{batch} ({n} values)" for batch, n in self.batches.items()])
        likely = "scaled" if "negative" in self.kinds else "normalised or log-transformed"
        raise InputError(
            f"{where} does not hold raw counts: {found}; in batch {batches}. The values seem to be {likely}; name the"
            " layer with the counts in the sheet's column layer, or leave these cells out"
        )
