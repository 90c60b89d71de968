"""Where in a folder the counts are: outputs of Cell Ranger, STARsolo, kb-python, alevin-fry and Parse.

Light: Snakemake imports it at every start.
"""

import os
from pathlib import Path

from refatlas.errors import InputError, listed, shown
from refatlas.io.mtx_folders import MtxFiles, incomplete, mtx_of_prefix, mtx_samples, several_samples

# What tools write into a folder of results; the first that is there is taken. The h5 has the same counts as the
# folder beside it, and is faster to read.
PLACES = (
    *("filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix", "sample_filtered_feature_bc_matrix.h5"),
    *("sample_filtered_feature_bc_matrix", "filtered_gene_bc_matrices_h5.h5", "filtered_gene_bc_matrices"),
    *("filtered_gene_bc_matrices_mex", "filtered_peak_bc_matrix_h5.h5", "cell_feature_matrix.h5"),
    *("cell_feature_matrix", "outs", "count", "per_sample_outs", "Solo.out", "alevin", "counts_filtered"),
    *("DGE_filtered", "filtered", "counts_unfiltered", "DGE_unfiltered", "sample_raw_feature_bc_matrix.h5"),
    *("raw_feature_bc_matrix.h5", "raw_feature_bc_matrix", "raw_gene_bc_matrices_h5.h5", "raw_gene_bc_matrices"),
    *("raw", "multi"),
)
# Counts of genes by STARsolo; Velocyto and SJ beside them count something else.
STARSOLO = ("Gene", "GeneFull", "GeneFull_Ex50pAS", "GeneFull_ExonOverIntron")
ALL_DROPLETS = ("raw_feature_bc_matrix", "raw_gene_bc_matri", "counts_unfiltered", "DGE_unfiltered")
MAX_DEPTH = 6
_FILES = (".h5ad", ".h5mu", ".h5", ".loom", ".h5ad.gz", ".zarr", ".zarr.zip", ".rds", ".RDS", ".h5seurat", ".zip")
ZARR = (".zgroup", "zarr.json", ".zattrs", ".zmetadata")


class GenomeNeededError(InputError):
    """A folder of Cell Ranger 2 has several genomes; which one the sheet does not say."""


def is_zarr(path: str) -> bool:
    """Return whether a path is the folder of a zarr."""
    return any(os.path.exists(os.path.join(path, name)) for name in ZARR)


def find_counts(path: str, genome: str | None = None) -> MtxFiles | str:
    """Return the files of a matrix in text, or the path of an h5 file, that a folder stands for.

    Args:
        path: of a folder, or a prefix of three files in one.
        genome: of the sheet: which folder of Cell Ranger 2 is taken.

    Raises:
        InputError: the folder holds no matrix, or several.
    """
    if not os.path.isdir(path):
        if sample := mtx_of_prefix(path):
            return sample
        raise InputError(f"{path}: no such file or folder; check the path")
    found = _find(path, genome, 0)
    if found is None:
        raise _nothing(path)
    at = found if isinstance(found, str) else found.folder
    if os.path.normpath(at) != os.path.normpath(path) and isinstance(found, MtxFiles):
        found.notes.insert(0, f"counts: found in {os.path.relpath(at, path)}")
    return found


def droplets_note(path: str) -> list[str]:
    """Return a note if a path says that it holds all droplets, and not only cells."""
    folder, of_starsolo = Path(path).name, Path(path).parent.name in STARSOLO
    if not any(name in path for name in ALL_DROPLETS) and not (folder == "raw" and of_starsolo):
        return []
    return [
        "cells: these are all droplets, unfiltered, of which most are empty; give the filtered matrix if there is one"
    ]


def _find(folder: str, genome: str | None, depth: int) -> MtxFiles | str | None:
    """Return the counts in a folder or below it; None if there are none."""
    samples = mtx_samples(folder)
    complete = [sample for sample in samples if sample.is_complete()]
    if len(complete) > 1:
        raise several_samples(folder, complete)
    if complete:
        return complete[0]
    if samples:
        raise incomplete(folder, samples)
    if os.path.exists(os.path.join(folder, "quants_mat.gz")):
        raise InputError(
            f"{folder}: quants_mat.gz is alevin's own binary format, which is not read; run alevin with --dumpMtx, or"
            " read it with tximport in R, and write the counts as h5ad"
        )
    return _find_below(folder, genome, depth) if depth < MAX_DEPTH else None


def _find_below(folder: str, genome: str | None, depth: int) -> MtxFiles | str | None:
    for name in PLACES:
        place = os.path.join(folder, name)
        if os.path.isfile(place):
            return place
        if os.path.isdir(place) and (found := _find(place, genome, depth + 1)):
            return found
    subfolders = [
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and entry.name not in PLACES and not is_zarr(entry.path)
    ]
    if solo := [name for name in subfolders if name in STARSOLO]:
        subfolders = solo
    if (depth and Path(folder).name.startswith(("filtered_gene_bc", "raw_gene_bc"))) or genome in subfolders:
        subfolders = _of_genome(folder, subfolders, genome)
    return _only_one(folder, sorted(subfolders), genome, depth)


def _of_genome(folder: str, names: list[str], genome: str | None) -> list[str]:
    if genome is None and len(names) > 1:
        raise GenomeNeededError(
            f"{folder}: holds the counts of {len(names)} genomes, {listed(names)}; set genome in the sheet to one"
        )
    if genome is not None and genome not in names:
        raise InputError(f"{folder}: genome {shown(repr(genome))} is not there; it has {listed(names)}")
    return [genome] if genome is not None else names


def _only_one(folder: str, names: list[str], genome: str | None, depth: int) -> MtxFiles | str | None:
    """Return the counts of the only subfolder that has any."""
    found = {}
    for name in names:
        if _has_counts(os.path.join(folder, name)) and (inside := _find(os.path.join(folder, name), genome, depth + 1)):
            found[name] = inside
    if len(found) > 1:
        raise InputError(
            f"{folder}: {len(found)} folders in it hold counts: {listed(found)}; name one of them as path, such as"
            f" {shown(os.path.join(folder, next(iter(found))), 300)}, and give each its own row"
        )
    return next(iter(found.values()), None)


def _has_counts(folder: str) -> bool:
    """Return whether a folder holds a matrix, or a folder of results; no deeper folder is searched."""
    names = os.listdir(folder)
    return any(name.endswith((".mtx", ".mtx.gz")) or name in PLACES for name in names)


def _nothing(folder: str) -> InputError:
    """Return the error for a folder without a matrix."""
    files = [name for name in sorted(os.listdir(folder)) if name.endswith(_FILES)]
    if files:
        return InputError(
            f"{folder}: is a folder of other files ({listed(files)}); name one of them as path, such as"
            f" {shown(os.path.join(folder, files[0]), 300)}, and give each its own row"
        )
    return incomplete(folder, [])
