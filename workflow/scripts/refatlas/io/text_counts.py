"""Raw counts in a dense table of text: genes × cells, as on GEO, or cells × genes."""

import csv
import io
import re
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed, shown
from refatlas.io.count_file import CountFile
from refatlas.io.exhaustion import report_full_disk
from refatlas.io.feature_kinds import split_features
from refatlas.io.file_kind import file_kind, refusal
from refatlas.io.matrix_rows import BLOCK_VALUES, Rows, Triplets, compressed_rows, transposed_rows
from refatlas.io.mtx_text import open_binary
from refatlas.io.watchdog import watchdog

# Lines that are looked at to tell the columns of names from those of counts.
SAMPLE_LINES = 20
# More columns of text before the counts are those of a table of another kind.
MAX_NAME_COLUMNS = 3
# One axis holds genes if at least this share of its names are, and this many times that of the other axis.
MIN_SHARE, MIN_RATIO = 0.02, 4
_GENE = re.compile(
    r"(ENS[A-Z]*G\d{6,}(\.\d+)?|(GRC[hm]\d+|hg\d\d|mm\d\d)_+.+|RP[LS]P?\d+\w*|MT-\w+|HLA-\w+|LINC\d+|A[CLP]\d{6}\.\d+"
    r"|Gm\d+|\d{7}\w\d\dRik|COX\d\w+|NDUF\w+|ATP\d\w+|SLC\d+\w+|ZNF\d+|Zfp\d+|TMEM\d+|KRT\d+|CD\d+\w?|ACTB|GAPDH|B2M"
    r"|MALAT1|EEF1A1|TMSB4X|FTL|FTH1|UBC|HSPA\d\w*|PSM[ABCD]\d+)([._|-].*)?",
    re.IGNORECASE,
)
_BARCODE = re.compile(r"(.*[^A-Za-z])?[ACGTN]{8,}([^A-Za-z].*)?")
# Columns of numbers that programs write beside the counts: measures and clusters of cells, or places of genes.
_NO_COUNTS = re.compile(
    r"n_?(?:counts?|features?|genes?|umis?)(?:_.*)?|(?:log1p_)?(?:total_counts|n_genes_by_counts)(?:_.*)?"
    r"|(?:percent|pct)[._].+|seurat_clusters|.+[._](?:clusters?|snn_res[._].*)|(?:leiden|louvain)(?:[._].*)?"
    r"|doublet_scores?|(?:s|g2m)[._]score|length|chr|chrom|chromosome|start|end|strand",
    re.IGNORECASE,
)
_TRANSPOSED = "read it with pandas.read_csv, and write it with anndata.AnnData(table.T).write_h5ad"


@dataclass
class _Table:
    """A table as it is being read.

    Attributes:
        path: of the file.
        separator: of its columns.
        numbers: names of the columns of numbers.
        headings: of the columns of names before them.
        rows: names of each line, one list for each column of names.
        are_counts: which columns of numbers are counts, by their names.
        names: of the columns of counts.
    """

    path: str
    separator: str
    numbers: list[str]
    headings: list[str]
    rows: list[list[str]] = field(default_factory=list)
    are_counts: np.ndarray = field(init=False)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.are_counts = np.array([not _NO_COUNTS.fullmatch(name) for name in self.numbers])
        self.names = [name for name, kept in zip(self.numbers, self.are_counts, strict=True) if kept]


def open_text(path: str, layer: str | None, genome: str | None) -> CountFile:
    """Return the counts of a dense table of text, through temporary files on disk.

    Which axis holds genes is told by their names.

    Args:
        layer: of the sheet; a table has none.
        genome: of the sheet.

    Raises:
        InputError: it is no table of numbers, or which names are genes cannot be told.
    """
    kind = file_kind(path)
    if kind.detail != "text":
        raise refusal(path, kind)
    if layer is not None:
        raise InputError(f"{path}: layer {shown(repr(layer))} is not in the file; {kind.name} has one matrix")
    with open_binary(path) as file:
        lines = (line for line in io.TextIOWrapper(file, "utf-8-sig") if line.strip())
        table, first = _layout(path, lines, kind.name)
        indices, data, ends = _read_values(table, first, lines)
    genes_in_rows = _genes_in_rows(table)
    _require_gene_lines(table, genes_in_rows)
    shape = len(table.rows[0]), len(table.names)
    indptr = np.concatenate([[0], ends])
    rows = _transposed(shape, indptr, indices, data) if genes_in_rows else compressed_rows(shape, indptr, indices, data)
    genes, cells = _axes(table, genes_in_rows)
    order = "genes × cells" if genes_in_rows else "cells × genes"
    notes = [f"counts: {kind.name} of {order}", *_notes_on_columns(table)]
    found = CountFile(path, "table", cells, genes, rows, notes)
    return split_features(found, None, genes.index, genome)


def _layout(path: str, lines: Iterator[str], what: str) -> tuple[_Table, list[str]]:
    """Return the columns of a table, and the first lines after its header."""
    sample = [line.rstrip("\r\n") for line in islice(lines, SAMPLE_LINES + 3)]
    while sample and sample[0].startswith("#"):
        sample = sample[1:]
    if len(sample) < 2:
        raise InputError(
            f"{path}: {what} of {len(sample)} lines holds no counts; it needs a header and a line for each gene"
        )
    separator = max(("\t", ",", ";", " "), key=lambda s: min(len(_split(line, s)) for line in sample[:2]))
    header, values = _split(sample[0], separator), [_split(line, separator) for line in sample[1:]]
    n_columns = len(values[0])
    header = ["", *header] if len(header) == n_columns - 1 else header
    if len(header) != n_columns:
        raise InputError(
            f"{path}: {what} whose header has {len(header)} columns and whose first line has {n_columns}; {_TRANSPOSED}"
        )
    n_names = _n_name_columns(header, values)
    if not 0 < n_names <= MAX_NAME_COLUMNS or n_names == n_columns:
        reason = "no column of names" if n_names == 0 else f"text in column {shown(repr(header[n_names - 1]))}"
        raise InputError(
            f"{path}: {what} with {reason} is none of counts; expected names and then a number for each cell"
        )
    return _Table(path, separator, header[n_names:], header[:n_names], [[] for _ in range(n_names)]), sample[1:]


def _split(line: str, separator: str) -> list[str]:
    """Return the values of a line, without quotes."""
    if separator == " ":
        parts = line.split()
    elif '"' in line:
        return next(csv.reader([line], delimiter=separator))
    else:
        parts = line.split(separator)
    return [part.strip().strip('"') for part in parts]


def _n_name_columns(header: list[str], values: list[list[str]]) -> int:
    """Return how many columns stand before the numbers: up to the last one with text."""
    n_names = (
        1
        if re.fullmatch(
            r"|unnamed: 0|x|genes?|gene.?(id|name|symbol)s?|symbols?|cells?|barcodes?|index|id", header[0], re.I
        )
        else 0
    )
    for line in values:
        for place in range(len(line) - 1, n_names - 1, -1):
            if not _is_number(line[place]):
                n_names = place + 1
                break
    return n_names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_values(table: _Table, first: list[str], lines: Iterator[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return columns and values other than zero of all lines, and how many there are up to each line."""
    lengths: list[int] = []
    with tempfile.TemporaryFile(prefix="refatlas-") as indices, tempfile.TemporaryFile(prefix="refatlas-") as data:
        for batch in _batches(first, lines):
            with watchdog(), report_full_disk(Path(tempfile.gettempdir()) / "temporary file", "set TMPDIR elsewhere"):
                for line in batch:
                    values = _numbers(table, line)
                    columns = np.flatnonzero(values)
                    columns.astype(np.int32).tofile(indices)
                    values[columns].tofile(data)
                    lengths.append(len(columns))
        ends = np.cumsum(lengths, dtype=np.int64)
        return _mapped(indices, np.int32, ends), _mapped(data, np.float64, ends), ends


def _mapped(file: Any, dtype: type, ends: np.ndarray) -> np.ndarray:
    file.flush()
    n = int(ends[-1]) if len(ends) else 0
    return np.memmap(file, dtype=dtype, mode="r", shape=(n,)) if n else np.zeros(0, dtype=dtype)


def _batches(first: list[str], lines: Iterator[str]) -> Iterator[list[str]]:
    yield first
    while batch := list(islice(lines, 100)):
        yield batch


def _numbers(table: _Table, line: str) -> np.ndarray:
    """Return the numbers of a line, and keep its names."""
    rest = line.rstrip("\r\n")
    for column in table.rows:
        name, rest = _cut(rest, table.separator)
        column.append(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            values = np.fromstring(rest, dtype=np.float64, sep=table.separator)
        except (DeprecationWarning, ValueError):
            values = np.array([_number(table, part) for part in _split(rest, table.separator)])
    if len(values) != len(table.numbers):
        raise InputError(
            f"{table.path}: the line of {shown(repr(table.rows[0][-1]))} has {len(values)} numbers, but the header"
            f" names {len(table.numbers)}; is the file complete?"
        )
    return values[table.are_counts]


def _number(table: _Table, text: str) -> float:
    if not _is_number(text):
        raise InputError(
            f"{table.path}: {shown(repr(text))} in the line of {shown(repr(table.rows[0][-1]))} is no count; expected a"
            " number for each cell"
        )
    return float(text)


def _cut(line: str, separator: str) -> tuple[str, str]:
    """Return the first value of a line, and the rest."""
    line = line.lstrip() if separator == " " else line
    if line.startswith('"'):
        name, _, rest = line[1:].partition('"')
        return name, rest.lstrip() if separator == " " else rest.removeprefix(separator)
    name, _, rest = line.partition(separator)
    return name.strip(), rest


def _share(names: list[str], pattern: re.Pattern) -> float:
    return sum(bool(pattern.fullmatch(name)) for name in names) / max(len(names), 1)


def _genes_in_rows(table: _Table) -> bool:
    """Return whether lines are genes, by the names of both axes.

    Raises:
        InputError: it cannot be told.
    """
    shares = max(_share(names, _GENE) for names in table.rows), _share(table.names, _GENE)
    barcodes = _share(table.rows[0], _BARCODE), _share(table.names, _BARCODE)
    for rows, columns, found in ((*shares, True), (*barcodes, False)):
        if max(rows, columns) >= MIN_SHARE and max(rows, columns) >= MIN_RATIO * min(rows, columns):
            return (rows > columns) == found
    raise InputError(
        f"{table.path}: a table of {len(table.rows[0])} lines ({listed(table.rows[0], 3)}) and {len(table.names)}"
        f" columns ({listed(table.names, 3)}), of which neither can be told to be genes; {_TRANSPOSED} (without .T if"
        " its lines are cells)"
    )


def _require_gene_lines(table: _Table, genes_in_rows: bool) -> None:
    """Raise an InputError if lines of genes are followed by lines of measures or clusters of the cells."""
    wrong = [name for name in table.rows[0] if _NO_COUNTS.fullmatch(name)] if genes_in_rows else []
    if wrong:
        raise InputError(
            f"{table.path}: the lines {listed(map(repr, wrong), 5)} hold no counts of a gene, by their names; expected"
            " genes alone: remove these lines, and give them as metadata, with a line for each cell"
        )


def _notes_on_columns(table: _Table) -> list[str]:
    """Return a note on columns of numbers that are no counts."""
    left = [name for name, kept in zip(table.numbers, table.are_counts, strict=True) if not kept]
    if not left:
        return []
    return [
        f"counts: columns {listed(map(repr, left), 5)} hold no counts, by their names, and are not read; give those of"
        " cells as metadata"
    ]


def _axes(table: _Table, genes_in_rows: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of genes and of cells."""
    lines, columns = pd.Index(table.rows[0], dtype=object), pd.Index(table.names, dtype=object)
    if genes_in_rows:
        symbols = table.rows[1] if len(table.rows) > 1 else table.rows[0]
        return pd.DataFrame({"gene_symbols": symbols}, index=lines), pd.DataFrame(index=columns)
    more = dict(zip(table.headings[1:], table.rows[1:], strict=True))
    return pd.DataFrame({"gene_symbols": table.names}, index=columns), pd.DataFrame(more, index=lines)


def _transposed(shape: tuple[int, int], indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> Rows:
    """Return genes × cells by cells."""

    def triplets() -> Iterator[Triplets]:
        start = 0
        while start < shape[0]:
            stop = max(int(np.searchsorted(indptr[1:], indptr[start] + BLOCK_VALUES, side="right")), start + 1)
            part = slice(int(indptr[start]), int(indptr[stop]))
            genes = np.repeat(np.arange(start, stop), np.diff(indptr[start : stop + 1]))
            yield indices[part], genes, data[part]
            start = stop

    return transposed_rows(triplets, (shape[1], shape[0]), np.float64)
