"""Quality of the cells of one file: all values checked, cells measured, and which cells to keep."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import label_column
from refatlas.io.count_file import CountFile
from refatlas.prepare.cell_columns import factorize, read_batches, read_controls, read_labels, require_text
from refatlas.prepare.droplets import MAX_MEDIAN, droplets_text, unfiltered_batches
from refatlas.prepare.file_lines import origins
from refatlas.prepare.genes import gene_table
from refatlas.prepare.mitochondria import are_mitochondrial, mitochondrial_notes
from refatlas.prepare.moments import CellMeasures
from refatlas.prepare.proteins import read_proteins
from refatlas.prepare.raw_values import WrongValues


@dataclass
class Scan:
    """Result of one pass over a file.

    Attributes:
        cells: one row per cell, in the file's order, indexed by `cell` (name:barcode): barcode,
            batch, label (label_2, … for coarser levels), total_counts, n_genes, mito_share, keep,
            reason.
        genes: of `gene_table`, with n_cells, the number of cells in which each gene was detected.
        summary: plain values for reports: path, location, sizes, origins (where each part was found),
            places (the matrices that were looked at) and notes.
    """

    cells: pd.DataFrame
    genes: pd.DataFrame
    summary: dict


def scan_file(file: CountFile, name: str, row: dict, qc: dict, unlabeled: list[str], n_threads: int = 1) -> Scan:
    """Return the cells and genes of a file after one pass over all its values.

    Args:
        name: of the dataset or query; it makes cells and batches unique.
        row: of the sheet, with layer, batch_key, label_keys, gene_key, protein_key.
        qc: limits, the config's `qc`.
        unlabeled: values of a label column that mean no label.

    Raises:
        InputError: duplicate cells, a missing column, a missing batch, values that are not counts,
            all droplets instead of cells, or an error of `read_proteins`.
    """
    genes = gene_table(file, row["gene_key"], row.get("previous_symbols", False), row.get("orthologs"))
    cells = _named_cells(file, name)
    require_text(genes["name"], f"{name!r} ({file.path}): gene")
    cells["batch"] = read_batches(file, name, row).to_numpy()
    for level, key in enumerate(row["label_keys"], start=1):
        cells[label_column(level)] = read_labels(file, name, key, unlabeled).to_numpy()
    if row.get("control"):
        cells["control"] = read_controls(file, name, row["control"]).to_numpy()
    proteins = read_proteins(file, row, cells["batch"].to_numpy())
    if proteins.shape[1]:
        cells["has_proteins"] = (
            (proteins > 0).any(axis=1).groupby(cells["batch"].to_numpy()).transform("any").to_numpy()
        )
    n_cells = _measure(file, name, genes, cells, n_threads)
    genes["n_cells"] = n_cells
    _look_for_droplets(file, name, cells, qc)
    if row.get("features") != "peaks":
        file.notes += mitochondrial_notes(cells, qc["max_mito_share"])
    cells["reason"] = quality_reasons(cells, qc)
    cells["keep"] = cells["reason"] == ""
    summary = _summary(file, name, cells, genes) | {"origins": origins(file, row, genes, cells), "places": file.places}
    if found := genes.attrs.pop("orthologs", None):
        summary["orthologs"] = found
    return Scan(cells, genes, summary | {"proteins": list(proteins.columns)})


def _named_cells(file: CountFile, name: str) -> pd.DataFrame:
    """Return a table of the file's cells with their barcodes, which must be unique text."""
    cells = pd.DataFrame(index=pd.Index(name + ":" + file.cells.index, name="cell"))
    cells["barcode"] = file.cells.index
    require_text(cells["barcode"], f"{name!r} ({file.path}): cell")
    # Not is_unique, whose hash table would stay in memory with the index.
    if file.cells.index.duplicated().any():
        duplicated = cells["barcode"].duplicated(keep=False)
        raise InputError(
            f"{name!r} ({file.path}): {int(duplicated.sum())} cells share a name"
            f" ({listed(cells.barcode[duplicated].unique(), 3)}); make the cells' names unique"
        )
    return cells


def _measure(file: CountFile, name: str, genes: pd.DataFrame, cells: pd.DataFrame, n_threads: int) -> np.ndarray:
    """Add total_counts, n_genes and mito_share to `cells`; return each gene's number of cells."""
    mito = are_mitochondrial(genes)
    found, wrong = CellMeasures(len(cells), mito.astype(np.float64), n_threads), WrongValues()
    for start, block in file.blocks():
        if not found.add(start, block):
            part = cells.iloc[start : start + block.shape[0]]
            wrong.add(block, part["batch"].to_numpy(), part["barcode"].to_numpy(), genes["name"].to_numpy())
    wrong.refuse(f"{name!r} ({file.path}): {file.location}")
    cells["total_counts"], cells["n_genes"] = found.totals, found.n_genes
    cells["mito_share"] = (
        np.divide(found.marked_counts, found.totals, out=np.zeros(len(cells)), where=found.totals > 0)
        if mito.any()
        else np.nan
    )
    return found.n_cells


def _look_for_droplets(file: CountFile, name: str, cells: pd.DataFrame, qc: dict) -> None:
    """Refuse all droplets, among which cells would be the outliers; without a limit of outliers, only note them."""
    batches = unfiltered_batches(cells, qc["min_counts"])
    if batches and qc["mads"] is not None:
        raise InputError(
            f"{name!r} ({file.path}): {droplets_text(batches)}. Or set qc.min_counts to at least {MAX_MEDIAN}, between"
            " empty droplets and cells. If all are cells, set qc.mads to null, because it would drop the large ones"
        )
    if batches:
        file.notes.append(f"cells: {droplets_text(batches)}")


def quality_reasons(cells: pd.DataFrame, qc: dict) -> pd.Series:
    """Return why each cell is of low quality, "" for a good one.

    Absolute limits come first. Outliers differ by more than `mads` median absolute deviations from
    the median of their batch, in log1p counts or log1p genes (Germain et al. 2020). Deviations are
    scaled to a normal distribution's standard deviation; a deviation of zero sets no limit.

    Args:
        cells: with batch, total_counts, n_genes and mito_share.
        qc: limits, the config's `qc`.
    """
    reasons = np.full(len(cells), "", dtype=object)
    limits = {
        "too few counts": cells["total_counts"] < qc["min_counts"],
        "too few genes": cells["n_genes"] < qc["min_genes"],
        "mitochondrial share": cells["mito_share"] > (1.0 if qc["max_mito_share"] is None else qc["max_mito_share"]),
    }
    good = np.ones(len(cells), dtype=bool)
    for reason, failed in limits.items():
        reasons[good & failed.to_numpy()] = reason
        good &= ~failed.to_numpy()
    if qc["mads"] is not None:
        measured = np.flatnonzero(good)
        groups = _groups(factorize(cells["batch"])[0][measured])
        for column, words in (("total_counts", "total counts"), ("n_genes", "genes")):
            outlier = _outliers(np.log1p(cells[column].to_numpy()[measured]), groups, qc["mads"], qc["min_batch_cells"])
            reasons[measured[outlier & good[measured]]] = f"outlier in {words}"
            good[measured[outlier]] = False
    return pd.Series(reasons, index=cells.index)


def _groups(codes: np.ndarray) -> list[np.ndarray]:
    """Return the indices of the cells of each code."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _outliers(values: np.ndarray, groups: list[np.ndarray], mads: float, min_cells: int) -> np.ndarray:
    """Return which values are outliers of their group; groups under `min_cells` have none."""
    outlier = np.zeros(len(values), dtype=bool)
    for places in groups:
        if len(places) >= max(min_cells, 1):
            distance = np.abs(values[places] - np.median(values[places]))
            deviation = 1.4826 * np.median(distance)
            outlier[places] = (deviation > 0) & (distance > mads * deviation)
    return outlier


def _summary(file: CountFile, name: str, cells: pd.DataFrame, genes: pd.DataFrame) -> dict:
    keys = genes["gene_id"].fillna(genes["symbol"]).dropna()
    repeated = int(keys.duplicated().sum())
    notes, reasons = list(file.notes), cells["reason"].reset_index(drop=True)
    if repeated:
        notes.append(
            f"genes: {repeated} columns name the same gene as another column"
            f" ({listed(keys[keys.duplicated()].unique(), 5)}); their counts are summed"
        )
    if not genes["gene_id"].notna().any():
        notes.append("genes: no Ensembl ids in the file, so genes are matched by symbol")
    return {
        "name": name,
        "path": file.path,
        "counts": file.location,
        "n_cells": len(cells),
        "n_kept": int(cells["keep"].sum()),
        "n_genes": len(genes),
        "median_counts": float(cells["total_counts"].median()),
        "median_genes": float(cells["n_genes"].median()),
        "batches": {batch: int(n) for batch, n in cells["batch"].value_counts().items()},
        "low_quality": {reason: int(n) for reason, n in reasons[~cells["keep"].to_numpy()].value_counts().items()},
        "notes": notes,
    }


def report_scan(found: Scan) -> None:
    """Print what was read, and how many cells are of low quality."""
    summary = found.summary
    print(
        f"{summary['path']}: {summary['n_cells']} cells × {summary['n_genes']} genes; {summary['n_kept']} cells of good"
        " quality"
    )
    for reason, n in summary["low_quality"].items():
        print(f"  {n} cells: {reason}")
    for note in summary["notes"]:
        print(f"  {note}")


def require_kept_cells(found: Scan, where: str) -> None:
    """Raise an InputError if no cell of a dataset passes the quality limits.

    Args:
        where: dataset and file, for the message.
    """
    if not found.cells["keep"].any():
        raise InputError(
            f"{where}: none of its {len(found.cells)} cells passes the quality limits "
            f"({found.summary['low_quality']}); lower the limits in the config's qc, or leave the dataset out"
        )
