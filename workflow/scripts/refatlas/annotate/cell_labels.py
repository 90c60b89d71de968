"""Names of clusters suggested from labels of their cells: of datasets, or of another tool."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.annotate.label_text import clean_text
from refatlas.annotate.suggestion_rows import HIGH, LOW, MAX_CANDIDATES, MODERATE, suggestion_table
from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import UNLABELED, as_text

OF_ALL_DATASETS = "labels of all datasets"
# A label is sure by the lower end of the interval of its share, and only if enough of the cluster is labelled.
SURE_SHARE, MODERATE_SHARE, LEAST_LABELLED = 0.8, 0.5, 0.1
OTHERS_SHOWN = 3
FORM = "give a csv, tsv or parquet file whose first column names cells as dataset:barcode, and with a column label"


class CellLabels(NamedTuple):
    """Labels that another tool gave to cells.

    Attributes:
        table: indexed by cell: label, and confidence from 0 to 1, missing if the file has none.
        note: how many cells were found, for the log.
    """

    table: pd.DataFrame
    note: str


def read_cell_labels(path: str | Path, cells: pd.Index, name: str, unlabeled: Iterable[str] = ()) -> CellLabels:
    """Return the labels of a file for the cells of a reference.

    The first column names cells, as dataset:barcode or, if only one dataset has it, by barcode. Labels
    are in the column label, or else in the second; a column confidence is optional. Cells without a label are
    left out.

    Args:
        path: of a csv, tsv or parquet file.
        cells: of the reference, as dataset:barcode.
        name: of the file in the config.
        unlabeled: values that mean no label.

    Raises:
        InputError: the file cannot be read, lacks a column, names a cell twice, a barcode of two
            datasets, or no cell of the reference, has no label, or a confidence that is none.
    """
    where = f"config: suggestions: labels: {name}: {path}"
    table = _read(Path(path), where)
    column = "label" if "label" in table.columns[1:] else table.columns[1]
    names = table.iloc[:, 0].astype(object).map(as_text)
    labels = table[column].astype(object).map(as_text).map(clean_text)
    no_label = [UNLABELED, *map(clean_text, unlabeled)]
    labels = labels.where(table[column].notna() & ~labels.isin(no_label), "")
    found = pd.DataFrame({"label": labels, "confidence": _confidence(table, where)})
    found.index = pd.Index(_match_cells(names, cells, where), name="cell")
    matched = found[found.index != ""]
    if matched.index.has_duplicates:
        twice = matched.index[matched.index.duplicated()][0]
        raise InputError(f"{where}: cell {shown(twice)!r} occurs twice; give one label to each cell")
    labelled = matched[matched["label"] != ""]
    if labelled.empty:
        raise InputError(f"{where}: column {shown(column)!r} has no label for any cell of the reference; {FORM}")
    note = f"{len(labelled):,} of {len(cells):,} cells have a label; {len(found) - len(matched):,} rows name no cell"
    return CellLabels(labelled, f"{name}: {note}")


def _read(path: Path, where: str) -> pd.DataFrame:
    try:
        if path.suffix.casefold() == ".parquet":
            table = pd.read_parquet(path)
        else:
            # Text stays text: barcodes and labels may be numbers, and "NA" may be a name.
            table = pd.read_csv(path, sep=_delimiter(path), dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: cannot be read ({shown(error, 300)}); {FORM}") from error
    # In a parquet file of pandas, or a table of R, the first column may be the names of the rows.
    table = table if isinstance(table.index, pd.RangeIndex) else table.reset_index()
    if table.shape[1] < 2:
        raise InputError(f"{where}: the only column is {listed(table.columns)}; {FORM}")
    return table


def _delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig") as lines:
        header = next(iter(lines), "")
    return next((mark for mark in "\t;" if mark in header), ",")


def _confidence(table: pd.DataFrame, where: str) -> pd.Series:
    if "confidence" not in table.columns[1:]:
        return pd.Series(np.nan, index=table.index)
    given = table["confidence"].astype(object).replace("", np.nan)
    numbers = pd.to_numeric(given, errors="coerce")
    wrong = given.notna() & ~numbers.between(0, 1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"{where}: row {row + 1}: confidence {shown(given.iloc[row])!r} is no number from 0 to 1; correct it, or"
            " leave the column out"
        )
    return numbers


def _match_cells(names: pd.Series, cells: pd.Index, where: str) -> np.ndarray:
    """Return the cell of each row, "" where the reference has none."""
    barcodes = pd.Series(cells).str.partition(":")[2].to_numpy()
    twice = pd.Series(barcodes).duplicated(keep=False).to_numpy()
    of_barcode = pd.Series(cells[~twice], index=barcodes[~twice])
    by_name = names.isin(cells).to_numpy()
    ambiguous = ~by_name & names.isin(barcodes[twice]).to_numpy()
    if ambiguous.any():
        barcode = names[ambiguous].iloc[0]
        raise InputError(
            f"{where}: barcode {shown(barcode)!r} is in several datasets ({listed(cells[barcodes == barcode], 3)});"
            " name cells as dataset:barcode"
        )
    by_barcode = names.map(of_barcode).fillna("").to_numpy()
    matched = np.where(by_name, names.to_numpy(), by_barcode)
    if not (matched != "").any():
        raise InputError(
            f"{where}: none of its {len(names)} cells is in the reference. Its cells are {listed(names, 3)}, those of"
            f" the reference {listed(cells, 3)}; name cells as dataset:barcode"
        )
    return matched


def suggest_from_datasets(clusters: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of each cluster's cells, by dataset and, if several have labels, of all together.

    Args:
        clusters: of each cell, indexed by cell, one column per resolution.
        cells: indexed by cell, with batch and, if any dataset has labels, label.

    Returns:
        As of `suggest_from_labels`.
    """
    if "label" not in cells:
        return suggestion_table([])
    labels = cells["label"].reindex(clusters.index).astype(object)
    labels = labels.where(labels.notna() & ~labels.isin(["", UNLABELED]), None)
    datasets = cells["batch"].reindex(clusters.index).astype(str).str.partition(":")[0]
    labelled = list(dict.fromkeys(datasets[labels.notna()]))
    kinds = {f"labels of {name}": labels.where(datasets == name, None) for name in labelled}
    if len(labelled) > 1:
        kinds[OF_ALL_DATASETS] = labels
    tables = [suggest_from_labels(clusters, own.to_frame("label"), kind) for kind, own in kinds.items()]
    return pd.concat(tables, ignore_index=True) if tables else suggestion_table([])


def suggest_from_labels(clusters: pd.DataFrame, labels: pd.DataFrame, evidence: str) -> pd.DataFrame:
    """Return the most frequent labels of each cluster's cells, best first.

    The score is the lower end of Wilson's 95 % interval of a label's share among the labelled cells,
    so that few labelled cells are less sure. A cell with a confidence counts that much. The best
    label is sure by SURE_SHARE and MODERATE_SHARE of this score; never more than moderately if less
    than LEAST_LABELLED of the cluster is labelled.

    Args:
        clusters: of each cell, indexed by cell, one column per resolution.
        labels: label and optionally confidence, indexed by cell; cells may lack, or have no label.
        evidence: name of the kind of evidence.

    Returns:
        As of `suggestion_table`; n is the number of the cluster's labelled cells.
    """
    own = labels.reindex(clusters.index)
    codes, names = pd.factorize(own["label"])
    weights = own["confidence"].fillna(1.0).to_numpy() if "confidence" in own else np.ones(len(own))
    has = codes >= 0
    rows: list[dict[str, Any]] = []
    for resolution in clusters.columns if has.any() else ():
        groups, group_names = pd.factorize(clusters[resolution], sort=True)
        shape = (len(group_names), len(names))
        place = groups[has] * len(names) + codes[has]
        counts = np.bincount(place, weights[has], np.prod(shape)).reshape(shape)
        n_labelled, sizes = np.bincount(groups[has], minlength=shape[0]), np.bincount(groups, minlength=shape[0])
        for group in np.flatnonzero(counts.sum(axis=1) > 0):
            common = {"resolution": str(resolution), "cluster": str(group_names[group]), "evidence": evidence}
            found = _label_rows(counts[group], names, int(n_labelled[group]), int(sizes[group]))
            rows += [{**common, **row} for row in found]
    return suggestion_table(rows)


def _label_rows(counts: np.ndarray, names: pd.Index, n: int, size: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one cluster.

    Args:
        counts: cells of each label, by confidence.
        names: of the labels.
        n: number of labelled cells.
        size: number of all cells.
    """
    from statsmodels.stats.proportion import proportion_confint

    shares = counts / counts.sum()
    scores = np.asarray(proportion_confint(counts, counts.sum(), method="wilson")[0])
    order = [i for i in np.argsort(-counts, kind="stable") if counts[i] > 0]
    of_cluster = f" ({n / size:.0%} of the cluster)" if n < size else ""
    for rank, i in enumerate(order[:MAX_CANDIDATES], start=1):
        others = [k for k in order if k != i]
        yield {
            "label": names[i],
            "score": scores[i],
            "rank": rank,
            "support": f"{shares[i]:.0%} of {n:,} labelled cells{of_cluster}",
            "against": ", ".join(f"{shares[k]:.0%} {names[k]}" for k in others[:OTHERS_SHOWN]),
            "n": n,
            "margin": scores[i] - (scores[others[0]] if others else 0),
            "sure": _how_sure(scores[i], n / size) if rank == 1 else "",
        }


def _how_sure(score: float, share_labelled: float) -> str:
    if score >= SURE_SHARE and share_labelled >= LEAST_LABELLED:
        return HIGH
    return MODERATE if score >= MODERATE_SHARE else LOW
