"""The spots of a spatial reference: their counts in genes of the atlas, their coordinates, sections and regions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import as_text
from refatlas.io.count_file import CountFile
from refatlas.io.model_counts import counts_writer, read_counts
from refatlas.prepare.cell_columns import MAX_LENGTH, factorize, require_text
from refatlas.prepare.cell_quality import Scan, scan_file
from refatlas.prepare.gene_mismatch import mismatch
from refatlas.prepare.genes import match_selected
from refatlas.prepare.model_input import selected_counts
from refatlas.spatial.grids import grid_names

WHERE = "config: spatial"
# Fewer spots than this cannot be cut into blocks that are held out in turn, nor fewer genes tell regions apart.
MIN_SPOTS, MIN_GENES, MIN_REGION_SPOTS = 100, 20, 10
# Every spot counts, whatever its depth: without any count, it is left out.
NO_LIMITS = {"min_counts": 1, "min_genes": 1, "max_mito_share": None, "mads": None, "min_batch_cells": 1}
NAME = "spatial"


@dataclass
class Spots:
    """Spots with counts.

    Attributes:
        counts: CSR, shape (n_spots, n_genes).
        genes: names of the genes in the results, of the atlas's selected genes those that the spatial file has.
        symbols: of the genes.
        names: of the spots.
        xy: coordinates, shape (n_spots, 2), in the unit of the file.
        sections: section of tissue of each spot.
        regions: named region of each spot, None for none; None if the configuration names no column.
    """

    counts: sparse.csr_matrix
    genes: pd.Index
    symbols: list[str]
    names: pd.Index
    xy: np.ndarray
    sections: np.ndarray
    regions: np.ndarray | None

    def take(self, rows: np.ndarray) -> "Spots":
        """Return some of the spots, by a mask or by positions."""
        regions = None if self.regions is None else self.regions[rows]
        return Spots(
            self.counts[rows], self.genes, self.symbols, self.names[rows], self.xy[rows], self.sections[rows], regions
        )


def row_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a sheet's row would say of the spatial file."""
    return {
        "path": settings["path"],
        "layer": settings["layer"],
        "gene_key": settings["gene_key"],
        "batch_key": "-",
        "batch_is_default": False,
        "label_keys": [],
        "protein_key": None,
        "protein_is_default": False,
        "metadata": None,
        "control": None,
    }


def write_spots(
    path: str | Path, file: CountFile, settings: Mapping[str, Any], genes: pd.DataFrame, n_threads: int = 1
) -> dict[str, Any]:
    """Write the spots of a spatial file, and return what was read, for people.

    Args:
        path: of the h5ad, which has the genes of the atlas that the file has, obs x, y, section and region, and no
            spot without counts of these genes.
        file: the spatial reference.
        settings: the config's `spatial`.
        genes: genes.parquet of the atlas, with the column selected.

    Raises:
        InputError: the file has no counts, no such coordinates, sections or regions, or too few genes of the atlas.
    """
    found = scan_file(file, NAME, row_of(settings), NO_LIMITS, [], n_threads)
    shared = _shared_genes(file, found, genes)
    xy = _coordinates(file, settings["coordinates"])
    obs = pd.DataFrame({"x": xy[:, 0], "y": xy[:, 1]}, index=found.cells["barcode"].to_numpy(dtype=str))
    obs["section"] = _column(file, settings["section_key"], "section_key", complete=True)
    obs["region"] = _column(file, settings["region_key"], "region_key", complete=False)
    blocks = list(selected_counts(file, np.ones(len(obs), dtype=bool), shared, found.genes))
    counts = sparse.vstack(blocks, format="csr")
    keep = np.asarray(counts.sum(axis=1)).ravel() > 0
    _require_enough(file, obs[keep], settings)
    _require_detected(file, counts)
    with counts_writer(path, obs[keep], shared) as out:
        out.append(counts[keep])
    summary = {key: found.summary[key] for key in ("path", "counts", "n_genes", "notes", "median_counts")}
    named = [] if settings["region_key"] is None else sorted(obs.loc[keep, "region"].dropna().unique())
    return {
        **summary,
        "n_spots": int(keep.sum()),
        "empty_spots": int((~keep).sum()),
        "shared_genes": int(shared["selected"].sum()),
        "atlas_genes": int(genes["selected"].sum()),
        "sections": sorted(obs.loc[keep, "section"].unique()),
        "regions": named,
    }


def read_spots(path: str | Path) -> Spots:
    """Return what `write_spots` wrote."""
    data = read_counts(path)
    obs: Any = data.obs
    matrix: Any = data.X
    regions = obs["region"].astype(object)
    return Spots(
        sparse.csr_matrix(matrix),
        data.var_names,
        list(data.var["symbol"].astype(str)),
        data.obs_names,
        obs[["x", "y"]].to_numpy(dtype=np.float64),
        obs["section"].to_numpy(dtype=str),
        regions.where(regions.notna(), None).to_numpy(dtype=object) if regions.notna().any() else None,
    )


def _shared_genes(file: CountFile, found: Scan, genes: pd.DataFrame) -> pd.DataFrame:
    """Return genes.parquet with those genes alone selected that the spatial file has."""
    places = match_selected(genes, found.genes)
    has = np.isin(np.arange(int(genes["selected"].sum())), places)
    if has.sum() >= MIN_GENES:
        chosen = genes["selected"].to_numpy(dtype=bool).copy()
        chosen[np.flatnonzero(chosen)[~has]] = False
        return genes.assign(selected=chosen)
    selected = genes[genes["selected"]]
    reason = mismatch(selected, found.genes)
    raise InputError(
        f"{WHERE}: path {file.path}: {int(has.sum())} of the atlas's {len(selected)} genes found, need {MIN_GENES}."
        f"{f' {reason}' if reason else ''} The atlas has {listed(selected.index, 3)}, the file"
        f" {listed(found.genes['name'], 3)}; set spatial: gene_key to a column with the same names, or name genes that"
        " differ over the tissue in genes: include"
    )


def _require_detected(file: CountFile, counts: sparse.csr_matrix) -> None:
    """Raise an InputError if too few genes have counts in enough spots to vary over the tissue."""
    detected = int((counts.getnnz(axis=0) >= MIN_REGION_SPOTS).sum())
    if detected < MIN_GENES:
        raise InputError(
            f"{WHERE}: path {file.path}: {detected} of the atlas's genes have counts in at least {MIN_REGION_SPOTS}"
            f" spots, need {MIN_GENES}; check spatial: layer, or name genes that differ over the tissue in genes:"
            " include"
        )


def _coordinates(file: CountFile, key: str) -> np.ndarray:
    """Return the first two coordinates of the spots, shape (n_spots, 2)."""
    name = key.removeprefix("obsm/")
    if name not in file.spaces:
        raise InputError(
            f"{WHERE}: coordinates: {file.path} has no {name!r} in obsm; it has {listed(file.spaces, 20)}; write the"
            " coordinates of its spots into the file (h5ad, h5mu or zarr), or correct coordinates"
        )
    values = np.asarray(file.read_space(name))
    if values.ndim != 2 or values.shape[1] not in (2, 3) or not np.issubdtype(values.dtype, np.number):
        raise InputError(
            f"{WHERE}: coordinates: {name!r} of {file.path} holds {values.dtype} of shape {values.shape}; expected"
            " numbers, with x and y of each spot"
        )
    found = values[:, :2].astype(np.float64)
    wrong = ~np.isfinite(found).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{WHERE}: coordinates: {name!r} of {file.path} has values that are not finite in {int(wrong.sum())} spots"
            f" ({listed(file.cells.index[wrong], 3)}); leave these spots out of the file"
        )
    return found


def _column(file: CountFile, key: str | None, setting: str, complete: bool) -> np.ndarray:
    """Return a column of the spots as text, None where it is missing; "" everywhere if the config names none."""
    if key is None:
        return np.full(len(file.cells), "" if complete else None, dtype=object)
    if key not in file.cells:
        raise InputError(
            f"{WHERE}: {setting}: {file.path} has no column {key!r}; it has {listed(file.cells.columns, 20)}; correct"
            f" {setting}, or leave it out"
        )
    codes, values = factorize(file.cells[key])
    names = [as_text(value) for value in values]
    found = np.array([*[name if name.strip() else None for name in names], None], dtype=object)[codes]
    missing = np.array([name is None for name in found])
    if complete and missing.any():
        raise InputError(
            f"{WHERE}: {setting}: {int(missing.sum())} spots of {file.path} have no value in column {key!r}"
            f" ({listed(file.cells.index[missing], 3)}); fill it in, or name another column"
        )
    require_text([str(name) for name in found[~missing]], f"{WHERE}: {setting}: {file.path}", MAX_LENGTH)
    return found


def _require_enough(file: CountFile, spots: pd.DataFrame, settings: Mapping[str, Any]) -> None:
    """Raise an InputError if there are too few spots in all, in a section, in the cells of a grid, or in a region."""
    place = f"{WHERE}: path {file.path}"
    if len(spots) < MIN_SPOTS:
        raise InputError(f"{place}: {len(spots)} spots with counts of the atlas's genes, need {MIN_SPOTS}")
    sizes = spots["section"].value_counts()
    if settings["held_out"] == "sections" and len(sizes) < 2:
        raise InputError(f"{WHERE}: held_out: sections: {file.path} has one section alone; set held_out to blocks")
    most = max(settings["grids"], default=0)
    if most and sizes.min() < most * most * MIN_REGION_SPOTS:
        raise InputError(
            f"{WHERE}: grids: {most} makes {most * most} regions of a section, and the smallest section of {file.path}"
            f" has {sizes.min()} spots; need {MIN_REGION_SPOTS} in a region, so give a coarser grid"
        )
    if most and (spots.groupby("section")[["x", "y"]].nunique() < most).any(axis=None):
        raise InputError(
            f"{WHERE}: coordinates: the spots of {file.path} have fewer than {most} different values along x or y in a"
            " section; correct coordinates, or leave grids empty"
        )
    for n in settings["grids"]:
        _require_grid(place, spots, n)
    if settings["region_key"] is not None:
        regions = spots["region"].value_counts()
        small = regions[regions < MIN_REGION_SPOTS]
        if len(regions) < 2 or len(small):
            raise InputError(
                f"{WHERE}: region_key: {file.path} has {len(regions)} regions in {settings['region_key']!r}"
                f" ({shown(listed([f'{name}: {n}' for name, n in regions.items()], 5), 300)}); need at least two, with"
                f" {MIN_REGION_SPOTS} spots each; name another column, or leave small regions without a name"
            )


def _require_grid(place: str, spots: pd.DataFrame, n: int) -> None:
    """Raise an InputError if a region of a grid has too few spots, as where many spots share a coordinate."""
    sections = spots["section"].to_numpy(dtype=str)
    sizes = pd.Series(grid_names(spots[["x", "y"]].to_numpy(dtype=np.float64), sections, n)).value_counts()
    wanted = n * n * len(np.unique(sections))
    if len(sizes) < wanted or sizes.min() < MIN_REGION_SPOTS:
        raise InputError(
            f"{place}: grids: {n} makes {wanted} regions; {wanted - len(sizes)} of them are empty, and the smallest"
            f" other has {sizes.min()} spots; need {MIN_REGION_SPOTS} in each: give a coarser grid, correct"
            " coordinates, or leave grids empty"
        )
