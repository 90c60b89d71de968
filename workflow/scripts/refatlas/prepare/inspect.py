"""Shows what is in a file of counts, and what the workflow would take from it, without a run.

    python -m refatlas.prepare.inspect FILE [--batch-key donor] [--label-key cell_type] [...]

The options are the columns of the sheets. The command ends with code 2 and the reason if the
workflow would refuse the file.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import refatlas
from refatlas.errors import InputError, listed, shown
from refatlas.io.count_file import CountFile
from refatlas.io.formats import require_readable
from refatlas.io.raw_counts import open_row
from refatlas.prepare.cell_columns import MAX_SHARE, factorize
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.file_lines import file_line, further_notes
from refatlas.prepare.ortholog_columns import BUNDLED

# A run applies the limits of the config's qc; here every cell is good.
NO_LIMITS = {"min_counts": 0, "min_genes": 0, "max_mito_share": None, "mads": None, "min_batch_cells": 1}
N_EXAMPLES = 4


def inspect_file(row: dict[str, Any], name: str, unlabeled: list[str]) -> Iterator[str]:
    """Yield lines on a file: what a run would say of it, then what it holds.

    All values are read, to see whether they are counts.

    Args:
        row: of a sheet.
        name: for batches and messages.
        unlabeled: labels that mean none.

    Raises:
        InputError: a run would refuse the file.
    """
    require_readable(row["path"], "file")
    file = open_row(row)
    found = scan_file(file, name, row, NO_LIMITS, unlabeled)
    yield file_line({**found.summary, "low_quality": None}, "file")
    yield from (f"  {note}" for note in further_notes(found.summary))
    if file.places:
        yield "places that could hold counts:"
        yield from map(_place_line, file.places)
    yield f"cells: {listed(file.cells.index, N_EXAMPLES)}"
    yield from _column_lines(file.cells, is_cells=True)
    yield f"genes: {listed(file.genes.index, N_EXAMPLES)}"
    yield from _column_lines(file.genes, is_cells=False)
    yield f"protein_key may be: {listed(file.proteins, 20)}"
    yield f"batch_key may be: {listed(_key_columns(file, complete=True), 20)}"
    yield f"label_key may be: {listed(_key_columns(file, complete=False), 20)}"


def _place_line(place: dict[str, Any]) -> str:
    mean = place["mean_counts"]
    size = f"{place['n_genes']:,} genes" + (f", {mean:,.1f} per cell" if mean is not None else "")
    return f"  {place['location']}: {size}; {'taken' if place['taken'] else 'passed over'}, {place['why']}"


def _column_lines(table: pd.DataFrame, is_cells: bool) -> Iterator[str]:
    """Yield the columns of a table of cells or genes, with their values."""
    for name in table:
        codes, values = factorize(table[name])
        missing = int((codes < 0).sum())
        without = f", missing in {missing:,} {'cells' if is_cells else 'genes'}" if missing else ""
        used = [values[code] for code in dict.fromkeys(codes[codes >= 0])]
        number = f"{len(used):,} value{'s' if len(used) != 1 else ''}"
        yield f"  {shown(name)}: {number} ({listed(used, N_EXAMPLES)}){without}"


def _key_columns(file: CountFile, complete: bool) -> list[str]:
    """Return the cell columns with few enough values for batches (complete) or labels."""
    found = []
    for name in file.cells:
        column = file.cells[name]
        codes, _ = factorize(column)
        n = len(set(codes[codes >= 0]))
        is_measure = column.dtype.kind == "f" and not (column.dropna() % 1 == 0).all()
        if 1 <= n <= max(2, MAX_SHARE * len(codes)) and not is_measure and not (complete and (codes < 0).any()):
            found.append(f"{shown(name)} ({n:,})")
    return found


def main(arguments: list[str]) -> int:
    """Print what is in a file, and return the exit code: 2 if it is refused."""
    options = _parser().parse_args(arguments)
    row = _row(options)
    try:
        for line in inspect_file(row, options.name or _name(options.file), options.unlabeled):
            print(line)
    except InputError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 2
    return 0


def _name(path: str) -> str:
    return os.path.basename(path.rstrip("/")).split(".")[0] or "file"


def _row(options: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a sheet that the options stand for."""
    row = {
        "path": options.file,
        "layer": options.layer,
        "batch_key": options.batch_key,
        "batch_is_default": False,
        "label_keys": [key.strip() for key in options.label_key.split(",")] if options.label_key else [],
        "gene_key": options.gene_key,
        "protein_key": options.protein_key,
        "protein_is_default": False,
        "metadata": options.metadata,
        "control": None,
    }
    switches = {
        "genome": options.genome,
        "round": options.round,
        "listed_cells": options.metadata_cells == "listed",
        "previous_symbols": options.previous_symbols,
        "protein_names": options.protein_names,
    }
    if options.species and options.species.casefold() != options.atlas_species.casefold():
        of, to = options.species.casefold(), options.atlas_species.casefold()
        switches["orthologs"] = {"of": of, "to": to, "table": options.orthologs}
    return row | {key: value for key, value in switches.items() if value}


def _unlabeled() -> list[str]:
    """Return the default of the config's `unlabeled`, which is in its schema alone."""
    schema = Path(refatlas.__file__).parent / "config" / "schemas" / "config.schema.yaml"
    return yaml.safe_load(schema.read_text(encoding="utf-8"))["properties"]["unlabeled"]["default"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m refatlas.prepare.inspect",
        description="Shows what is in a file of counts, and what the workflow would take from it.",
    )
    parser.add_argument("file", help="h5ad, h5mu, zarr, loom, 10x h5, or the folder of an mtx")
    for option, about in {
        "layer": "matrix of the raw counts: a layer, X or raw, or a sum such as spliced+unspliced",
        "gene-key": "gene column of ids or symbols, or index",
        "label-key": "cell columns of labels, separated by commas",
        "protein-key": "where the counts of proteins are",
        "metadata": "table of further cell columns",
        "protein-names": "table of names by which proteins are those of the atlas",
        "species": "species of the file's genes, if it is not that of the atlas",
        "genome": "genome to take, of a file with several",
        "name": "name of the dataset; that of the file if left out",
    }.items():
        parser.add_argument(f"--{option}", help=about)
    parser.add_argument("--batch-key", default="-", help="cell column of the batch; - for one batch")
    parser.add_argument("--atlas-species", default="human", help="with --species: whose genes the atlas has")
    parser.add_argument("--orthologs", default=BUNDLED, help="with --species: table of orthologs, or bundled")
    parser.add_argument("--metadata-cells", choices=("all", "listed"), default="all")
    parser.add_argument("--round", action="store_true", help="round estimated counts")
    parser.add_argument("--previous-symbols", action="store_true", help="match former symbols of genes")
    parser.add_argument("--unlabeled", nargs="*", default=_unlabeled(), help="labels that mean none")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
