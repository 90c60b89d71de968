"""Tables of cells in the dialects of many programs, for `generated_files`."""

import csv
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd


def write_csv(table: pd.DataFrame, rng: np.random.Generator) -> bytes:
    """As pandas does, with the cells' names first; comma, semicolon or tab; quoted or not."""
    quoting = [csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC][rng.integers(2)]
    index_label = [None, "cell", "barcode"][rng.integers(3)]
    separator = str(rng.choice([",", ";", "\t"]))
    ends = str(rng.choice(["\n", "\r\n"]))
    missing = str(rng.choice(["", "NA", "nan"]))
    text = table.to_csv(sep=separator, quoting=quoting, index_label=index_label, lineterminator=ends, na_rep=missing)
    return text.encode("utf-8-sig" if rng.random() < 0.2 else "utf-8")


def write_r_table(table: pd.DataFrame, rng: np.random.Generator) -> bytes:
    """As R's write.table does: the header has no name for the column of names."""
    separator = str(rng.choice([" ", "\t", ","]))
    lines = [separator.join(f'"{name}"' for name in table.columns)]
    for name, row in table.iterrows():
        values = ["NA" if value is None or value != value else f'"{value}"' for value in row]
        lines.append(separator.join([f'"{name}"', *values]))
    return ("\n".join(lines) + "\n").encode()


def write_r_csv(table: pd.DataFrame, rng: np.random.Generator) -> bytes:
    """As R's write.csv does: the first name of the header is empty."""
    return ("\n".join(",".join(v if v == "NA" else f'"{v}"' for v in row) for row in _r_rows(table)) + "\n").encode()


def _r_rows(table: pd.DataFrame) -> list[list[str]]:
    rows = [["", *table.columns]]
    for name, row in table.iterrows():
        rows.append([str(name), *("NA" if value is None or value != value else str(value) for value in row)])
    return rows


def write_spaces(table: pd.DataFrame, rng: np.random.Generator) -> bytes:
    """Columns of equal width, values with spaces in quotes."""
    rows = [[f'"{value}"' if value != "NA" else value for value in row] for row in _r_rows(table)]
    rows[0][0] = "cell"
    widths = [max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0]))]
    return "".join(
        "".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    ).encode()


def write_names_within(table: pd.DataFrame, rng: np.random.Generator) -> bytes:
    """The cells' names are not the first column."""
    table = table.rename_axis("barcode").reset_index()
    order = [*(name for name in table if name != "barcode"), "barcode"]
    return table[order].to_csv(index=False, sep=str(rng.choice([",", "\t"]))).encode()


DIALECTS: dict[str, Callable[[pd.DataFrame, np.random.Generator], bytes]] = {
    "csv": write_csv,
    "R's write.table": write_r_table,
    "R's write.csv": write_r_csv,
    "spaces": write_spaces,
    "names not first": write_names_within,
}


def write_table(table: pd.DataFrame, rng: np.random.Generator, folder: Path) -> tuple[str, str]:
    """Write a table in a random dialect and return its path, and the dialect."""
    dialect = str(rng.choice([*DIALECTS, "csv", "parquet"]))
    if dialect == "parquet":
        path = folder / "cells.parquet"
        (table if rng.random() < 0.5 else table.rename_axis("cell").reset_index()).to_parquet(path)
        return str(path), dialect
    content = DIALECTS[dialect](table, rng)
    # A name tells nothing of the separator.
    ending = str(rng.choice(["csv", "tsv", "txt"]))
    if rng.random() < 0.3:
        path = folder / f"cells.{ending}.gz"
        path.write_bytes(gzip.compress(content))
    else:
        path = folder / f"cells.{ending}"
        path.write_bytes(content)
    return str(path), f"table: {dialect}"
