"""Cells by group and batch, for several groupings at once."""

from typing import NamedTuple

import numpy as np

# Parts of fewer cells on average cost more than they save.
LEAST_PART_SIZE = 8


class Parts(NamedTuple):
    """Cells in parts: those of a part are of one batch, and in the same group of every grouping.

    Attributes:
        parts: part of each cell, -1 for a cell without a group, shape (n_cells,), int32.
        batches: of each part, shape (n_parts,), int64.
        sizes: number of cells of each part.
        n_batches: how many there are.
    """

    parts: np.ndarray
    batches: np.ndarray
    sizes: np.ndarray
    n_batches: int


class Grouping(NamedTuple):
    """Groups as sums of parts.

    A pair is a group and a batch that have cells in common.

    Attributes:
        pairs: pair of each part, shape (n_parts,).
        group_of_pair, batch_of_pair, sizes: of each pair; the size is its number of cells.
        n_groups: how many there are.
    """

    pairs: np.ndarray
    group_of_pair: np.ndarray
    batch_of_pair: np.ndarray
    sizes: np.ndarray
    n_groups: int


def split_cells(
    groups: dict[str, np.ndarray], batches: np.ndarray, n_batches: int
) -> list[tuple[Parts, dict[str, Grouping]]]:
    """Return parts of the cells, and the groupings that are sums of these parts.

    Groupings share parts if the same cells have a group, and the parts are not too small: the
    values of a gene are then ranked once for all of them.

    Args:
        groups: code of each cell's group by grouping, -1 for none, each of shape (n_cells,).
        batches: code of each cell's batch.
        n_batches: number of batches.
    """
    shared: list[tuple[np.ndarray, list[str]]] = []
    for name, codes in groups.items():
        for i, (parts, names) in enumerate(shared):
            finer = _finer(parts, codes)
            if np.array_equal(codes >= 0, parts >= 0) and finer.max() * LEAST_PART_SIZE < len(codes):
                shared[i] = (finer, [*names, name])
                break
        else:
            shared.append((_finer(np.where(codes >= 0, batches, -1), codes), [name]))
    found = []
    for parts, names in shared:
        has_group = np.flatnonzero(parts >= 0)
        _, first, sizes = np.unique(parts[has_group], return_index=True, return_counts=True)
        first = has_group[first]
        of_part = Parts(parts.astype(np.int32), batches[first].astype(np.int64), sizes.astype(np.int64), n_batches)
        found.append((of_part, {name: _grouping(of_part, groups[name][first]) for name in names}))
    return found


def _finer(parts: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return the parts that are left if parts are split by codes; -1 in either means none."""
    known = (parts >= 0) & (codes >= 0)
    finer = np.full(len(parts), -1, dtype=np.int64)
    finer[known] = np.unique(parts[known] * (codes.max() + 1) + codes[known], return_inverse=True)[1]
    return finer


def _grouping(parts: Parts, groups: np.ndarray) -> Grouping:
    """Return a grouping from the group of each part."""
    found, pairs = np.unique(groups * parts.n_batches + parts.batches, return_inverse=True)
    sizes = np.bincount(pairs, weights=parts.sizes).astype(np.int64)
    return Grouping(pairs, found // parts.n_batches, found % parts.n_batches, sizes, int(groups.max()) + 1)
