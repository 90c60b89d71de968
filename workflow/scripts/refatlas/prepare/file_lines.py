"""What a file is and what was taken from it, in one line for the screen."""

import os
from typing import Any

import pandas as pd

from refatlas.errors import listed, shown
from refatlas.io.count_file import CountFile
from refatlas.io.file_kind import describe_file
from refatlas.io.folder_counts import is_zarr
from refatlas.prepare.gene_columns import find_names

# Notes that begin so are said by the line itself.
SAID = ("counts: passed over", "batches: none named")


def origins(file: CountFile, row: dict, genes: pd.DataFrame, cells: pd.DataFrame) -> dict[str, Any]:
    """Return where each part of a file was found, in words.

    Args:
        row: of the sheet.
        genes: of `gene_table`.
        cells: with batch and label (label_2, …) of each cell.
    """
    return {
        "kind": _kind(file),
        "counts": _counts(file),
        "genes": _genes(file, row, genes),
        "batches": _batches(file, row, cells),
        "labels": _labels(file, row, cells),
    }


def file_line(summary: dict, what: str) -> str:
    """Return what was read from a file of an accepted dataset or query, in one line.

    Args:
        summary: of a scan; low_quality is None if no limits were applied.
        what: "dataset" or "query" or "file"; cells of low quality are dropped from a dataset, and
            flagged in a query.
    """
    found = summary["origins"]
    parts = [f"{what} {summary['name']}: {_short_path(summary['path'])} ({found['kind']})"]
    parts[0] += f": {summary['n_cells']:,} cells × {summary['n_genes']:,} genes"
    parts += [f"{part}: {found[part]}" for part in ("counts", "genes", "batches", "labels")]
    if summary["low_quality"] is not None:
        parts.append(f"{'flagged' if what == 'query' else 'dropped'}: {_dropped(summary['low_quality'])}")
    return "; ".join(parts)


def further_notes(summary: dict) -> list[str]:
    """Return the notes that say more than the line."""
    return [note for note in summary["notes"] if not note.startswith(SAID) and not _says_place(note, summary)]


def screen_text(summary: dict, what: str) -> str:
    """Return the line of a file and its further notes, indented."""
    return "\n".join([file_line(summary, what), *(f"  {note}" for note in further_notes(summary))])


def _says_place(note: str, summary: dict) -> bool:
    """Return whether a note says no more than where the counts are, and of nothing to look at."""
    is_warning = "though" in note or "are left out" in note
    return note.startswith(f"counts: {summary['counts']}") and not is_warning


def _kind(file: CountFile) -> str:
    """Return what the file is, without article."""
    if os.path.isfile(file.path):
        return describe_file(file.path).removeprefix("an ").removeprefix("a ")
    return "zarr folder" if is_zarr(file.path) else "folder of a matrix"


def _short_path(path: str) -> str:
    return shown(os.path.basename(path.rstrip("/")) or path)


def _counts(file: CountFile) -> str:
    passed = [place["location"] for place in file.places if not place["taken"]]
    return file.location + (f" (passed over: {listed(passed)})" if passed else "")


def _genes(file: CountFile, row: dict, genes: pd.DataFrame) -> str:
    names = find_names(file, row["gene_key"])
    n_ids, n_symbols = int(genes["gene_id"].notna().sum()), int(genes["symbol"].notna().sum())
    found = [f"{n_ids:,} ids of {_column(names.ids)}"] if names.ids and n_ids else []
    if "own_symbol" in genes:
        wanted = row["orthologs"]
        return f"{max(n_ids, n_symbols):,} of {len(genes):,} named as their {wanted['to']} orthologs"
    found += [f"{n_symbols:,} symbols of {_column(names.symbols)}"] if names.symbols and n_symbols else []
    return ", ".join(found) or f"{n_symbols:,} names of the index"


def _column(name: str | None) -> str:
    return "the index" if name == "index" else f"column {name!r}"


def _cell_column(file: CountFile, row: dict, key: str) -> str:
    return f"column {key!r}" + (" of the metadata" if key in file.cells.attrs.get("metadata", ()) else "")


def _batches(file: CountFile, row: dict, cells: pd.DataFrame) -> str:
    n, key = cells["batch"].nunique(), row["batch_key"]
    return f"{n:,} of {_cell_column(file, row, key)}" if key != "-" and key in file.cells else "the file is one batch"


def _labels(file: CountFile, row: dict, cells: pd.DataFrame) -> str:
    found = []
    for level, key in enumerate(row["label_keys"], start=1):
        labels = cells["label" if level == 1 else f"label_{level}"]
        n_without = int(labels.isna().sum())
        without = f", {n_without:,} cells without" if n_without else ""
        found.append(f"{labels.nunique():,} of {_cell_column(file, row, key)}{without}")
    return " and ".join(found) or "none"


def _dropped(low_quality: dict[str, int]) -> str:
    if not low_quality:
        return "no cells"
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in low_quality.items())
    return f"{sum(low_quality.values()):,} cells ({reasons})"
