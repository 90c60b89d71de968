"""Raw counts in folders of a MatrixMarket file with its lists of genes and cells, of any tool."""

import csv
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.errors import InputError, listed, shown
from refatlas.io.count_file import CountFile
from refatlas.io.feature_kinds import feature_names, kind_column, split_features
from refatlas.io.folder_counts import droplets_note, find_counts
from refatlas.io.matrix_rows import Rows, summed_rows
from refatlas.io.mtx_folders import PARTS, MtxFiles
from refatlas.io.mtx_text import VELOCYTO_COLUMNS, MtxHeader, open_binary, read_header, read_mtx

# Names of columns as tools write them, in lower case and without separators.
ID_COLUMNS = ("geneid", "geneids", "ensembl", "ensemblid", "ensemblgeneid", "featureid", "id", "gene", "index")
SYMBOL_COLUMNS = (
    "genesymbol",
    "genesymbols",
    "symbol",
    "symbols",
    "genename",
    "genenames",
    "geneshortname",
    "hgncsymbol",
    "name",
)
CELL_COLUMNS = ("bcwells", "barcode", "barcodes", "cell", "cellid", "cellbarcode", "cellname", "cells", "index")
_GENOME = re.compile(r"(GRC[hm]|hg|mm|rn|GRCz|danRer|mRatBN|Mmul|Sscrofa|dm|BDGP|WBcel|TAIR)[\w.]*\d[\w.\-]*")


def open_mtx(folder: str, layer: str | None = None, genome: str | None = None) -> CountFile:
    """Return the counts of an mtx folder, transposed into a temporary file.

    Args:
        folder: that holds the three files, or a folder of results that holds such a folder, or the
            prefix of three files.
        layer: name of the matrix where there are several; names with "+" between are summed.
        genome: of the sheet, for features of several genomes.

    Raises:
        InputError: a file is missing, or they do not fit each other.
    """
    found = find_counts(folder, genome)
    if isinstance(found, str):
        raise InputError(f"{folder}: holds no mtx folder, but {found}; name that")
    return read_mtx_files(found, folder, layer, genome)


def read_mtx_files(files: MtxFiles, path: str, layer: str | None, genome: str | None) -> CountFile:
    """Return the counts of known files; arguments and errors as of `open_mtx`."""
    header, genes, cells, cells_first = _fitted_lists(files, path)
    table, kinds, symbols = _gene_table(genes, files)
    n_genes = unspliced_genes(table.index)
    if header.names != ("value",):
        parts, layer_note = _parts_as_set(path, layer, "its matrix has three values in a line")
        rows = read_mtx(next(iter(files.matrices.values())), header, cells_first, tuple(parts))
    elif n_genes:
        parts, layer_note = _parts_as_set(path, layer, "its genes are listed three times, with -U and -A")
        rows = _summed_columns(read_mtx(next(iter(files.matrices.values())), header, cells_first), n_genes, parts)
        table, symbols = table.iloc[:n_genes], symbols[:n_genes]
        kinds = None if kinds is None else kinds.iloc[:n_genes]
    else:
        parts, layer_note = _chosen_matrices(files, path, layer)
        rows = _summed(files, parts, header, cells_first)
    order = "cells × genes" if cells_first else "genes × cells"
    notes = [f"counts: {' + '.join(parts)} of {files.layout} files ({order}){layer_note}", *files.notes]
    notes += droplets_note(files.folder)
    file = CountFile(path, "+".join(parts), _cell_table(cells), table, rows, notes)
    # A folder of Cell Ranger 2 that is named by the genome holds that one alone.
    wanted = None if Path(files.folder).name == genome else genome
    return split_features(file, kinds, feature_names(table.index.to_numpy(), symbols), wanted)


def unspliced_genes(ids: pd.Index) -> int:
    """Return the number of genes if each is listed as spliced, unspliced (-U) and ambiguous (-A); otherwise 0.

    So does alevin-fry in its USA mode (He 2022), one kind after the other.
    """
    n = len(ids) // 3
    if not n or len(ids) % 3 or not str(ids[n]).endswith("-U"):
        return 0
    spliced = ids[:n].astype(str)
    found = (ids[n : 2 * n] == spliced + "-U").all() and (ids[2 * n :] == spliced + "-A").all()
    return n if found else 0


def _summed_columns(rows: Rows, n_genes: int, parts: list[str]) -> Rows:
    """Return the sum of blocks of columns, which stand in the order of `VELOCYTO_COLUMNS`."""
    starts = [VELOCYTO_COLUMNS.index(part) * n_genes for part in parts]

    def read(start: int, stop: int) -> sparse.csr_matrix:
        block = rows.read(start, stop)
        return sparse.csr_matrix(sum(block[:, first : first + n_genes] for first in starts))

    return Rows((rows.shape[0], n_genes), read, rows.ends)


def _chosen_matrices(files: MtxFiles, path: str, layer: str | None) -> tuple[list[str], str]:
    """Return the names of the matrices to sum, and a note on others."""
    have = files.matrices
    if layer is not None:
        names = [name.strip() for name in layer.split("+")]
        if missing := [name for name in names if name not in have]:
            raise InputError(f"{path}: layer {shown(repr(missing[0]))} is not in the folder; it has {listed(have)}")
        return names, ", as set in the sheet"
    wholes = [name for name in have if name.lower() not in PARTS and not name.startswith("UniqueAndMult")]
    chosen = ["matrix"] if "matrix" in have else wholes if len(wholes) == 1 else []
    if not chosen:
        raise InputError(
            f"{path}: holds {listed(have)}, and none of them is all counts; set layer in the sheet, such as"
            f" {_sum_of(have)}"
        )
    others = [name for name in have if name not in chosen]
    return chosen, f"; passed over {listed(others)}" if others else ""


def _sum_of(names: Any) -> str:
    parts = [name for name in names if name.lower() in PARTS]
    return "+".join(sorted(parts, key=lambda name: PARTS.index(name.lower()))) or next(iter(names))


def _parts_as_set(path: str, layer: str | None, what: str) -> tuple[list[str], str]:
    """Return the parts that the sheet names, of a matrix that holds parts and no total."""
    names = [name.strip() for name in (layer or "").split("+") if name.strip()]
    if not names:
        raise InputError(
            f"{path}: {what}, for spliced, unspliced and ambiguous counts, and none is a total; set layer in the sheet:"
            " spliced+ambiguous (cells), spliced+unspliced+ambiguous (nuclei), or others"
        )
    if unknown := [name for name in names if name not in VELOCYTO_COLUMNS]:
        raise InputError(f"{path}: layer {unknown[0]!r} is not in the folder; it has {listed(VELOCYTO_COLUMNS)}")
    return list(dict.fromkeys(names)), ", as set in the sheet"


def _summed(files: MtxFiles, names: list[str], header: MtxHeader, cells_first: bool) -> Rows:
    rows = []
    for name in names:
        own = read_header(files.matrices[name])
        if own.shape != header.shape or own.names != header.names:
            raise InputError(
                f"{files.matrices[name]}: {own.shape[0]} × {own.shape[1]}, but {files.matrices[names[0]]} is"
                f" {header.shape[0]} × {header.shape[1]}; matrices to add must be of one run"
            )
        rows.append(read_mtx(files.matrices[name], own, cells_first))
    return rows[0] if len(rows) == 1 else summed_rows(rows)


def read_list(path: str) -> pd.DataFrame:
    """Return all lines of a list as text, also a header; empty cells are "".

    Args:
        path: of a table separated by commas (csv) or tabs, or of one name a line.
    """
    with open_binary(path) as file:
        first = [file.readline().decode("utf-8-sig", errors="replace") for _ in range(2)]
    is_csv = ".csv" in Path(path).name.lower() and "\t" not in first[0]
    separator = (";" if first[0].count(";") > first[0].count(",") else ",") if is_csv else _text_separator(first)
    quoting: Any = csv.QUOTE_MINIMAL if is_csv or _is_quoted(first, separator) else csv.QUOTE_NONE
    n_columns = max(len(next(csv.reader([line], delimiter=separator, quoting=quoting), [""])) for line in first)
    with open_binary(path) as file:
        return pd.read_csv(
            file,
            sep=separator,
            header=None,
            names=range(max(n_columns, 1)),
            index_col=False,
            dtype=str,
            keep_default_na=False,
            na_values=[],
            quoting=quoting,
            encoding="utf-8-sig",
        ).fillna("")


def _text_separator(lines: list[str]) -> str:
    """Return the space if the lines are as R's write.table puts them, with numbers of rows; otherwise the tab."""
    words = [line.replace('"', "").split(" ") for line in lines]
    if any("\t" in line for line in lines) or len(words[1]) < 2:
        return "\t"
    is_headed = words[1][0] == "1" and len(words[0]) == len(words[1]) - 1
    return " " if is_headed or (words[0][0], words[1][0]) == ("1", "2") else "\t"


def _is_quoted(lines: list[str], separator: str) -> bool:
    """Return whether every value of the first lines is in quotes, as R's write.table puts them."""
    values = [value for line in lines if line.strip() for value in line.strip("\r\n").split(separator)]
    return bool(values) and all(len(v) > 1 and v[0] == v[-1] == '"' for v in values)


def _fitted_lists(files: MtxFiles, path: str) -> tuple[MtxHeader, pd.DataFrame, pd.DataFrame, bool]:
    """Return the header of the first matrix, its genes and cells, and whether its rows are cells.

    The lengths of both lists tell which is which, and whether their first line is a header.
    """
    matrix = next(iter(files.matrices.values()))
    header = read_header(matrix)
    genes, cells = read_list(files.genes), read_list(files.cells)
    fits = []
    for gene_header, cell_header, cells_first in product((0, 1), (0, 1), (False, True)):
        size = len(genes) - gene_header, len(cells) - cell_header
        if header.shape == (size[::-1] if cells_first else size):
            fits.append((gene_header + cell_header, cells_first, gene_header, cell_header))
    fewest = min((fit[0] for fit in fits), default=0)
    fits = [fit for fit in fits if fit[0] == fewest]
    if len({fit[1] for fit in fits}) > 1 and files.cells_first is not None:
        fits = [fit for fit in fits if fit[1] == files.cells_first]
    if not fits:
        raise InputError(
            f"{matrix}: {header.shape[0]} × {header.shape[1]}, but the folder lists {len(genes)} features"
            f" ({Path(files.genes).name}) and {len(cells)} barcodes ({Path(files.cells).name}); are the three files of"
            " one run?"
        )
    if len(fits) > 1:
        raise InputError(
            f"{path}: {len(genes)} genes and {len(cells)} cells, so that its rows may be either; write the counts as"
            " h5ad, or name the files as Cell Ranger does (matrix.mtx, genes × cells)"
        )
    _, cells_first, gene_header, cell_header = fits[0]
    return header, _with_header(genes, gene_header), _with_header(cells, cell_header), cells_first


def _with_header(table: pd.DataFrame, has_header: int) -> pd.DataFrame:
    """Return a list with the names of its columns if it has any, and without numbers of rows."""
    if has_header:
        names = table.iloc[0].tolist()
        # R's write.table leaves out the name of the first column.
        names = ["", *names[:-1]] if len(names) > 1 and names[-1] == "" and (table.iloc[1:, -1] != "").any() else names
        table = table.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
    if table.shape[1] < 2 or not (has_header or table.iloc[:, 1].is_unique):
        return table
    starts = (0, 1) if len(table) > 1 else ()
    numbers = [[str(i) for i in range(start, start + len(table))] for start in starts]
    if table.iloc[:, 0].tolist() not in numbers:
        return table
    rest = table.iloc[:, 1:]
    return rest if has_header else rest.set_axis(range(rest.shape[1]), axis=1)


def _place(table: pd.DataFrame, wanted: tuple[str, ...], otherwise: int | None) -> int | None:
    """Return the position of the column with the likeliest of some names."""
    plain = [re.sub(r"[^a-z]", "", str(name).lower()) for name in table.columns]
    return next((plain.index(name) for name in wanted if name in plain), otherwise)


def _gene_table(genes: pd.DataFrame, files: MtxFiles) -> tuple[pd.DataFrame, pd.Series | None, np.ndarray]:
    """Return the genes by id with their symbols, the kinds of features, and the names of each."""
    headed = any(isinstance(name, str) for name in genes.columns)
    at = _place(genes, ID_COLUMNS, None) if headed else 0
    named = _place(genes, SYMBOL_COLUMNS, None) if headed else (1 if genes.shape[1] > 1 else None)
    at = (named if named is not None else 0) if at is None else at
    if named is None and headed and genes.shape[1] > 1 and _place(genes, ID_COLUMNS, None) is None:
        named = next(i for i in range(genes.shape[1]) if i != at)
    ids = genes.iloc[:, at].to_numpy()
    symbols = genes.iloc[:, named].to_numpy() if named is not None else _listed_symbols(files, ids)
    table = pd.DataFrame({"gene_symbols": symbols}, index=pd.Index(ids))
    if headed:
        others = genes.loc[:, [str(name) not in ("", "gene_symbols") for name in genes.columns]].set_axis(table.index)
        return (table := table.join(others.loc[:, ~others.columns.duplicated()])), kind_column(table), symbols
    kinds = pd.Series(genes[2].to_numpy(), index=table.index) if genes.shape[1] > 2 else None
    if kinds is not None and all(_GENOME.fullmatch(str(kind)) for kind in kinds.unique()):
        table["genome"], kinds = kinds.to_numpy(), None
    return table, kinds, symbols


def _listed_symbols(files: MtxFiles, ids: np.ndarray) -> np.ndarray:
    """Return the symbols of a list of their own (kb-python); ids where there is none."""
    if not files.names:
        return ids
    names = read_list(files.names)[0].to_numpy()
    if len(names) != len(ids):
        raise InputError(
            f"{files.names}: {len(names)} names, but {files.genes} lists {len(ids)} genes; are the files of one run?"
        )
    return np.where(names == "", ids, names)


def _cell_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells by name; columns without a header are left out."""
    headed = any(isinstance(name, str) for name in cells.columns)
    at = _place(cells, CELL_COLUMNS, 0) if headed else 0
    index = pd.Index(cells.iloc[:, at if at is not None else 0].to_numpy(), dtype=object)
    if not headed:
        return pd.DataFrame(index=index)
    keep = [i for i, name in enumerate(cells.columns) if i != at and str(name)]
    return cells.iloc[:, keep].set_axis(index)
