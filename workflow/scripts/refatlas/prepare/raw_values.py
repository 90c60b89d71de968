"""Values that are no raw counts: negative, fractional or not finite."""

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed
from refatlas.io.value_kinds import ESTIMATED, LOGGED, NORMALISED, SCALED, kind_of_values

# Cells that are kept, to tell what their values are.
N_CELLS = 100
_OTHER_LAYER = "name the layer with the counts in the sheet's column layer, or leave these cells out"
_MISSING = "Values are missing or infinite: write zeros where nothing was counted, or leave these cells out"
_NEGATIVE = f"Integers below zero are no counts; {_OTHER_LAYER}"
# What to say of values of each kind; other fractions may be of any of them.
_LIKELY = {
    ESTIMATED: (
        "The values look like estimated counts (as of RSEM, alevin, SoupX or CellBender): name a layer of integers in"
        " the sheet's column layer, or round them with round = true in the sheet"
    ),
    SCALED: f"The values seem to be scaled; {_OTHER_LAYER}",
    LOGGED: f"The values seem to be normalised or log-transformed; {_OTHER_LAYER}",
    NORMALISED: f"The values seem to be normalised or log-transformed; {_OTHER_LAYER}",
}
_UNKNOWN = (
    "The values seem to be normalised or log-transformed, or small estimated counts; name the layer with the counts in"
    " the sheet's column layer, or, if they are estimated counts, set round = true in the sheet"
)


class WrongValues:
    """Values that are no counts, collected over blocks, so that the error names every batch.

    Attributes:
        batches: number of such values in each batch that has any.
        kinds: an example of each kind.
        block: the first block with such values, to tell what they are.
    """

    def __init__(self) -> None:
        self.batches: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.block: sparse.csr_matrix | None = None

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
                name = f"cell {barcodes[cell]!r}, gene {genes[block.indices[place]]!r}"
                self.kinds.setdefault(kind, f"{shown_value(data[place])} is {kind} ({name})")
                bad |= found
        if bad.any():
            by_cell = np.diff(np.concatenate([[0], np.cumsum(bad)])[block.indptr])
            for batch, n in pd.Series(by_cell).groupby(batches).sum().items():
                if n:
                    self.batches[str(batch)] = self.batches.get(str(batch), 0) + int(n)
            if self.block is None:
                self.block = block[by_cell > 0][:N_CELLS]

    def refuse(self, where: str) -> None:
        """Raise an InputError if there was any wrong value.

        Args:
            where: dataset, file and matrix, for the message.
        """
        if not self.batches or self.block is None:
            return
        found = "; ".join(self.kinds.values())
        batches = listed([f"{batch} ({n} values)" for batch, n in self.batches.items()])
        raise InputError(f"{where} does not hold raw counts: {found}; in batch {batches}. {self._likely()}")

    def _likely(self) -> str:
        """Return what the values may be, and what to do."""
        if "not an integer" not in self.kinds:
            return _NEGATIVE if "negative" in self.kinds else _MISSING
        kind = SCALED if "negative" in self.kinds or self.block is None else kind_of_values(self.block)
        return _LIKELY.get(kind, _UNKNOWN)


def shown_value(value: float) -> str:
    """Return a value with as few digits as tell it from an integer."""
    rounded = f"{value:g}"
    return rounded if float(rounded) == float(value) or float(rounded) % 1 else repr(float(value))
