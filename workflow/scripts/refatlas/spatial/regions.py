"""Regions of a tissue: the cells of a grid, or regions that people named; their centres, and blocks of spots."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from refatlas.spatial.grids import grid_names
from refatlas.spatial.spots import Spots

# What the regions that people named are called among the partitions.
NAMED = "regions"
# Spots of a block, about, and blocks along one side of a section.
BLOCK_SPOTS, FEWEST_BLOCKS, MOST_BLOCKS = 20, 4, 12


@dataclass
class Partition:
    """A tissue cut into regions.

    Attributes:
        name: "grid2", "grid3", …, or "regions".
        regions: their names.
        codes: region of each spot, -1 for none.
        centers: mean coordinates of the spots of each region, shape (n_regions, 2).
        spreads: root mean square distance of these spots from the centre, shape (n_regions,).
        sections: section of each region, None where a region has spots of several.
    """

    name: str
    regions: list[str]
    codes: np.ndarray
    centers: np.ndarray
    spreads: np.ndarray
    sections: list[str | None]


def partitions(spots: Spots, grids: Iterable[int]) -> list[Partition]:
    """Return the partitions of a tissue: one for each grid, and one for named regions if there are any."""
    found = [_partition(f"grid{n}", grid_names(spots.xy, spots.sections, n), spots) for n in grids]
    if spots.regions is not None:
        found.append(_partition(NAMED, spots.regions, spots))
    return found


def _partition(name: str, names: np.ndarray, spots: Spots) -> Partition:
    known = np.array([value is not None for value in names])
    regions, codes = np.unique(names[known].astype(str), return_inverse=True)
    all_codes = np.full(len(names), -1)
    all_codes[known] = codes
    centers, spreads, sections = np.zeros((len(regions), 2)), np.zeros(len(regions)), []
    for code in range(len(regions)):
        own = all_codes == code
        centers[code] = spots.xy[own].mean(axis=0)
        spreads[code] = np.sqrt(np.square(spots.xy[own] - centers[code]).sum(axis=1).mean())
        there = np.unique(spots.sections[own])
        sections.append(str(there[0]) if len(there) == 1 else None)
    return Partition(name, list(map(str, regions)), all_codes, centers, spreads, sections)


def blocks(xy: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Return the number of the block of each spot: compact parts of a section of about BLOCK_SPOTS spots."""
    found, first = np.zeros(len(xy), dtype=int), 0
    for section in np.unique(sections):
        own = np.flatnonzero(sections == section)
        side = int(np.clip(np.sqrt(len(own) / BLOCK_SPOTS), FEWEST_BLOCKS, MOST_BLOCKS))
        _, codes = np.unique(grid_names(xy[own], sections[own], side).astype(str), return_inverse=True)
        found[own] = first + codes
        first += int(codes.max()) + 1
    return found


def expected_place(p: np.ndarray, partition: Partition) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the expected coordinates of cells, their spread, and the section that these are of.

    With several sections, coordinates are those within the most probable one: sections have no common place.

    Args:
        p: probability of each region, shape (n_cells, n_regions).

    Returns:
        Coordinates, shape (n_cells, 2), in the unit of the file, missing where regions reach over sections. Spread: the
        root of the expected squared distance from them, over the regions and within each. Sections, shape (n_cells,).
    """
    if None in partition.sections:
        return np.full((len(p), 2), np.nan), np.full(len(p), np.nan), np.full(len(p), "", dtype=object)
    sections = np.array(partition.sections, dtype=str)
    names = np.unique(sections)
    member = (sections[:, None] == names).astype(float)
    best = (p @ member).argmax(axis=1)
    inside = p * member[:, best].T
    inside = inside / np.maximum(inside.sum(axis=1, keepdims=True), 1e-12)
    xy = inside @ partition.centers
    second = inside @ (np.square(partition.centers).sum(axis=1) + np.square(partition.spreads))
    spread = np.sqrt(np.maximum(second - np.square(xy).sum(axis=1), 0))
    return xy, spread, names[best].astype(object)
