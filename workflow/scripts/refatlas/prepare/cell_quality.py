"""Cells of one file: every value checked, quality measured, and which cells to keep.

Shared by scan_dataset and check_query.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import SEPARATOR, UNLABELED, as_text, label_column
from refatlas.io.count_file import CountFile
from refatlas.prepare.genes import gene_table
from refatlas.prepare.moments import Measures
from refatlas.prepare.proteins import read_proteins

# Arrays of text take the room of their longest value for each.
MAX_LENGTH = 200
MITOCHONDRIAL = r"(?i)mt-.*"


@dataclass
class Scan:
    """What one pass over a file found.

    Attributes:
        cells: one row a cell, in the file's order, indexed by `cell` (name:barcode): barcode,
            batch, label (and label_2 … for coarser levels),
            total_counts, n_genes, mito_share, keep, reason.
        genes: of `gene_table`, with n_cells in which each gene was seen.
        summary: plain values for reports: path, location, sizes and notes.
    """

    cells: pd.DataFrame
    genes: pd.DataFrame
    summary: dict


def scan(file: CountFile, name: str, row: dict, qc: dict, unlabeled: list[str], n_threads: int = 1) -> Scan:
    """Return the cells and genes of a file after one pass over all its values.

    Args:
        name: of the dataset or query; it makes cells and batches unique.
        row: the sheet's row, with layer, batch_key, label_keys, gene_key, protein_key.
        qc: limits, the config's `qc`.
        unlabeled: values of a label column that mean no label.

    Raises:
        InputError: duplicate cells, a missing column, a missing batch, values that are not counts,
            or proteins of `read_proteins`.
    """
    genes = gene_table(file, row["gene_key"])
    cells = pd.DataFrame(index=pd.Index(name + ":" + file.cells.index, name="cell"))
    cells["barcode"] = file.cells.index
    _require_text(cells["barcode"], f"{name!r} ({file.path}): cell")
    _require_text(genes["name"], f"{name!r} ({file.path}): gene")
    # Not is_unique, whose table the index would keep.
    if file.cells.index.duplicated().any():
        duplicated = cells["barcode"].duplicated(keep=False)
        raise InputError(
            f"{name!r} ({file.path}): {int(duplicated.sum())} cells share a name"
            f" ({listed(cells.barcode[duplicated].unique(), 3)}); make the cells' names unique"
        )
    cells["batch"] = _batches(file, name, row).to_numpy()
    for level, key in enumerate(row["label_keys"], start=1):
        cells[label_column(level)] = _labels(file, name, key, unlabeled).to_numpy()
    if row.get("control"):
        cells["control"] = _controls(file, name, row["control"]).to_numpy()
    proteins = read_proteins(file, row, cells["batch"].to_numpy())
    if proteins.shape[1]:
        cells["has_proteins"] = (
            (proteins > 0).any(axis=1).groupby(cells["batch"].to_numpy()).transform("any").to_numpy()
        )
    n_cells = _measure(file, name, genes, cells, n_threads)
    genes["n_cells"] = n_cells
    cells["reason"] = quality_reasons(cells, qc)
    cells["keep"] = cells["reason"] == ""
    return Scan(cells, genes, _summary(file, name, cells, genes) | {"proteins": list(proteins.columns)})


def _controls(file: CountFile, name: str, control: str) -> pd.Series:
    """Return which cells are controls by COLUMN=VALUE."""
    column, value = (part.strip() for part in control.split("=", 1))
    if column not in file.cells:
        raise InputError(
            f"{name!r} ({file.path}): cell column {column!r} of control {control!r} is not in the file; it has"
            f" {listed(file.cells.columns, 20)}"
        )
    found = file.cells[column].astype(str).map(as_text) == as_text(value)
    if not found.any():
        raise InputError(
            f"{name!r} ({file.path}): no cell has {value!r} in column {column!r}, which control names; it has"
            f" {listed(file.cells[column].astype(str).unique(), 20)}"
        )
    return found


def _batches(file: CountFile, name: str, row: dict) -> pd.Series:
    key = row["batch_key"]
    has_columns = len(file.cells.columns) > 0
    if key == "-" or (key not in file.cells and not has_columns and row["batch_is_default"]):
        file.notes.append(f"batches: none named, so {name!r} is one batch")
        return pd.Series(f"{name}:{name}", index=file.cells.index)
    codes, values = _distinct(_column(file, name, key, "batch_key"))
    missing = codes < 0
    missing |= np.isin(codes, [code for code, value in enumerate(values) if not str(value).strip()])
    if missing.any():
        raise InputError(
            f"{name!r} ({file.path}): {int(missing.sum())} cells have no batch in column {key!r}"
            f" ({listed(file.cells.index[missing], 3)}); fill it in, or name another column as batch_key"
        )
    batches = [as_text(value) for value in values]
    _require_text(batches, f"{name!r} ({file.path}): batch", MAX_LENGTH)
    return pd.Series(np.array([f"{name}:{batch}" for batch in batches], dtype=object)[codes], index=file.cells.index)


def _labels(file: CountFile, name: str, key: str, unlabeled: list[str]) -> pd.Series:
    codes, values = _distinct(_column(file, name, key, "label_key"))
    known_as_none = {"", *map(as_text, unlabeled)}
    labels = [None if label in known_as_none or not label.strip() else label for label in map(as_text, values)]
    used = [label for code, label in enumerate(labels) if label is not None and (codes == code).any()]
    where = f"{name!r} ({file.path}): label"
    _require_text(used, where, MAX_LENGTH)
    # With its neighbours: "a |" before " | " would be another set of labels.
    broken = [label for label in used if SEPARATOR in f" {label} "]
    if broken:
        raise InputError(
            f"{where} {broken[0]!r} in column {key!r} contains {SEPARATOR!r}, which separates the labels of a"
            " prediction set; rename it"
        )
    if UNLABELED in used:
        raise InputError(
            f"{where} {UNLABELED!r} in column {key!r} is what models call cells without a label; rename it, or name it"
            " in the config's unlabeled if it means no label"
        )
    if not used:
        found = file.cells[key].astype(str).unique()
        raise InputError(
            f"{name!r} ({file.path}): no cell has a label in column {key!r} (values: {listed(found, 5)}); name another"
            " column as label_key, or '-' if there are no labels"
        )
    return pd.Series(np.array([*labels, None], dtype=object)[codes], index=file.cells.index)


def _distinct(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each cell's value among the distinct ones, -1 where it is missing, and
    these values: text is made of each of them once, not of each cell.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy(), column.cat.categories.to_numpy(dtype=object)
    codes, values = pd.factorize(column)
    return codes, np.asarray(values, dtype=object)


def _require_text(names, where: str, longest: int | None = None) -> None:
    """Raise an InputError if one of the names cannot be stored in the results: it is too long, or
    has a NUL or half of a surrogate pair.
    """
    names = list(names)
    text = "".join(names)
    if "\0" in text or text.encode("utf-8", errors="ignore").decode() != text:
        broken = next(name for name in names if "\0" in name or name.encode("utf-8", errors="ignore").decode() != name)
        raise InputError(
            f"{where} {shown(repr(broken))} has characters that no file can hold (NUL, or half of a surrogate pair);"
            " rename it"
        )
    if longest is not None and (long := [name for name in names if len(name) > longest]):
        raise InputError(f"{where} {shown(repr(long[0]))} is longer than {longest} characters; rename it")


def _column(file: CountFile, name: str, key: str, setting: str) -> pd.Series:
    if key not in file.cells:
        hint = (
            f"; the file has {listed(file.cells.columns, 20)}"
            if len(file.cells.columns)
            else "; the file has no cell columns, so give a table of them as metadata in the sheet"
        )
        none = "one batch" if setting == "batch_key" else "no labels"
        raise InputError(
            f"{name!r} ({file.path}): no cell column {key!r}{hint}; set {setting} in the sheet or the config, or '-'"
            f" for {none}"
        )
    return file.cells[key]


def _measure(file: CountFile, name: str, genes: pd.DataFrame, cells: pd.DataFrame, n_threads: int) -> np.ndarray:
    """Fill in total_counts, n_genes and mito_share of `cells`; return in how many cells each gene
    was seen.
    """
    mito = genes["symbol"].fillna("").str.fullmatch(MITOCHONDRIAL).to_numpy(dtype=bool)
    found, wrong = Measures(len(cells), mito.astype(np.float64), n_threads), WrongValues()
    for start, block in file.blocks():
        if not found.add(start, block):
            part = cells.iloc[start : start + block.shape[0]]
            wrong.look_at(block, part["batch"].to_numpy(), part["barcode"].to_numpy(), genes["name"].to_numpy())
    wrong.refuse(f"{name!r} ({file.path}): {file.location}")
    cells["total_counts"], cells["n_genes"] = found.totals, found.n_genes
    cells["mito_share"] = (
        np.divide(found.marked_counts, found.totals, out=np.zeros(len(cells)), where=found.totals > 0)
        if mito.any()
        else np.nan
    )
    return found.seen


def _row_counts(flags: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    return np.diff(np.concatenate([[0], np.cumsum(flags)])[indptr])


class WrongValues:
    """Values that cannot be counts, gathered over blocks so that the message can name every batch
    that has some.
    """

    def __init__(self) -> None:
        self.batches: dict[str, int] = {}
        self.kinds: dict[str, str] = {}

    def look_at(self, block, batches: np.ndarray, barcodes: np.ndarray, genes: np.ndarray) -> None:
        """Take note of the negative, fractional and non-finite values of a block."""
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
            for batch, n in pd.Series(_row_counts(bad, block.indptr)).groupby(batches).sum().items():
                if n:
                    self.batches[batch] = self.batches.get(batch, 0) + int(n)

    def refuse(self, where: str) -> None:
        """Raise an InputError if any value was wrong."""
        if not self.batches:
            return
        found = "; ".join(self.kinds.values())
        batches = listed([f"{batch} ({n} values)" for batch, n in self.batches.items()])
        likely = "scaled" if "negative" in self.kinds else "normalised or log-transformed"
        raise InputError(
            f"{where} does not hold raw counts: {found}; in batch {batches}. The values seem to be {likely}; name the"
            " layer with the counts in the sheet's column layer, or leave these cells out"
        )


def quality_reasons(cells: pd.DataFrame, qc: dict) -> pd.Series:
    """Return why each cell is of low quality, "" for a good one.

    Absolute limits come first. Outliers lie more than `mads` median absolute deviations (scaled to
    a normal's standard deviation) from
    their batch's median in log1p counts or log1p genes (Germain et al. 2020). A deviation of zero
    sets no limit.
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
        groups = _groups(_distinct(cells["batch"])[0][measured])
        for column in ("total_counts", "n_genes"):
            outlier = _outliers(np.log1p(cells[column].to_numpy()[measured]), groups, qc["mads"], qc["min_batch_cells"])
            reasons[measured[outlier & good[measured]]] = (
                f"outlier in {column.replace('_', ' ').replace('n genes', 'genes')}"
            )
            good[measured[outlier]] = False
    return pd.Series(reasons, index=cells.index)


def _groups(codes: np.ndarray) -> list[np.ndarray]:
    """Return where each code stands, an array of places for each."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def _outliers(values: np.ndarray, groups: list[np.ndarray], mads: float, min_cells: int) -> np.ndarray:
    outlier = np.zeros(len(values), dtype=bool)
    for places in groups:
        if len(places) >= max(min_cells, 1):
            distance = np.abs(values[places] - np.median(values[places]))
            deviation = 1.4826 * np.median(distance)
            outlier[places] = (deviation > 0) & (distance > mads * deviation)
    return outlier


def _summary(file: CountFile, name: str, cells: pd.DataFrame, genes: pd.DataFrame) -> dict:
    keys = genes["gene_id"].fillna(genes["symbol"])
    repeated = int(keys.duplicated().sum())
    notes, reasons = list(file.notes), cells["reason"].reset_index(drop=True)
    if repeated:
        notes.append(
            f"genes: {repeated} columns name a gene that another column has too"
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
    """Print what was read and what was dropped."""
    summary = found.summary
    print(
        f"{summary['path']}: {summary['n_cells']} cells × {summary['n_genes']} genes; {summary['n_kept']} cells of good"
        " quality"
    )
    for reason, n in summary["low_quality"].items():
        print(f"  {n} cells: {reason}")
    for note in summary["notes"]:
        print(f"  {note}")
