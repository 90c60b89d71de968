"""The counts of a range of genes, gene by gene, in memory that is known in advance.

Four bytes per value: the cell in the upper bits, the count in the lower ones. Counts that do not fit
are kept aside.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
from scipy import sparse

from refatlas.numba_cache import cached_njit

BYTES_PER_VALUE = 4


def gene_ranges(capacities: np.ndarray, memory_mb: float) -> Iterator[tuple[int, int]]:
    """Yield (first, last) genes of ranges whose values fit in memory; a range has at least one gene.

    Args:
        capacities: most values of each gene.
        memory_mb: for the values of a range.
    """
    ends, most = np.cumsum(capacities), memory_mb * 2**20 / BYTES_PER_VALUE
    start = 0
    while start < len(capacities):
        before = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, before + most, side="right")), start + 1)
        yield start, stop
        start = stop


class GeneValues:
    """Counts of the genes `first` to `last`, filled by blocks of cells and read by gene.

    Cells must be added in ascending order. The values of a gene then have the same order, whatever
    the blocks and threads.

    Attributes:
        scales: counts per cell in units of the sum that cells are scaled to, float32, shape (n_cells,).
    """

    def __init__(self, first: int, last: int, capacities: np.ndarray, scales: np.ndarray) -> None:
        self.first, self.last, self.scales = first, last, scales
        self.ends = np.cumsum(capacities[first:last])
        self.starts = self.ends - capacities[first:last]
        self.free = self.starts.copy()
        self.count_bits = 32 - max(len(scales) - 1, 1).bit_length()
        self.largest = 2**self.count_bits - 1
        self.packed = np.empty(int(self.ends[-1]), dtype=np.uint32)
        self._large: list[np.ndarray] = []

    def add(
        self, block: sparse.csr_matrix, cells: np.ndarray, genes: np.ndarray, pool: ThreadPoolExecutor, n_threads: int
    ) -> None:
        """Add a CSR block whose columns ascend in each row.

        Args:
            cells: number of each cell, -1 for one that is left out.
            genes: gene of each column, -1 for none; no gene twice.

        Raises:
            RuntimeError: a gene has more values than its capacity.
        """
        places = np.where((genes >= self.first) & (genes < self.last), genes - self.first, -1)
        if not (places >= 0).any():
            return
        weights = np.cumsum(np.where(places >= 0, (self.ends - self.starts)[places], 0))
        inner = np.searchsorted(weights, weights[-1] * np.arange(1, n_threads) / n_threads)
        parts = [
            pool.submit(
                _store,
                *(block.data, block.indices, block.indptr, left, right),
                *(cells, places, self.free, self.ends, self.packed, self.count_bits),
            )
            for left, right in pairwise([0, *map(int, inner), block.shape[1]])
        ]
        if sum(part.result() for part in parts):
            raise RuntimeError("a gene has more values than its number of cells; did a file change?")
        self._keep_large(block, cells, places)

    def _keep_large(self, block: sparse.csr_matrix, cells: np.ndarray, places: np.ndarray) -> None:
        """Keep the counts of a block that do not fit, with gene and cell."""
        large = np.flatnonzero(block.data >= self.largest)
        found_cells = cells[np.searchsorted(block.indptr, large, side="right") - 1]
        found_genes = places[block.indices[large]]
        wanted = (found_cells >= 0) & (found_genes >= 0)
        if wanted.any():
            self._large.append(np.stack([found_genes, found_cells, block.data[large]])[:, wanted].astype(np.float64))

    def large_counts(self) -> np.ndarray:
        """Return gene, cell and count of the counts that do not fit, by gene, shape (3, n_counts)."""
        found = np.hstack([np.empty((3, 0)), *self._large])
        return found[:, np.argsort(found[0], kind="stable")]

    def sorted_values(self, gene: int, large: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of a gene in ascending order, and their cells.

        Values are log1p of scaled counts in float32, by the same operations as in scanpy's
        normalize_total and log1p: equal values are equal there, too.

        Args:
            gene: from `first` to `last`.
            large: of `large_counts`.
        """
        place = gene - self.first
        packed = self.packed[self.starts[place] : self.free[place]]
        cells = packed >> np.uint32(self.count_bits)
        counts = (packed & np.uint32(self.largest)).astype(np.float32)
        start, stop = np.searchsorted(large[0], [place, place + 1])
        counts[np.searchsorted(cells, large[1, start:stop])] = large[2, start:stop]
        values = np.log1p(counts / self.scales[cells])
        # The bits of positive floats ascend with their values.
        keys = values.view(np.uint32).astype(np.uint64) << np.uint64(32) | cells
        keys.sort()
        return (keys >> np.uint64(32)).astype(np.uint32).view(np.float32), keys.astype(np.uint32)


@cached_njit()
def _store(data, indices, indptr, first, last, cells, places, free, ends, packed, count_bits):
    """Store the counts of some columns; return how many found no room."""
    n_lost, largest = 0, 2**count_bits - 1
    for row in range(len(indptr) - 1):
        if cells[row] >= 0:
            own = indices[indptr[row] : indptr[row + 1]]
            for value in range(np.searchsorted(own, first), len(own)):
                if own[value] >= last:
                    break
                gene, count = places[own[value]], np.int64(data[indptr[row] + value])
                if gene >= 0 and count > 0:
                    if free[gene] < ends[gene]:
                        packed[free[gene]] = (cells[row] << count_bits) | min(count, largest)
                        free[gene] += 1
                    else:
                        n_lost += 1
    return n_lost
