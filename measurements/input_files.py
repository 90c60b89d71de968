"""Writes small files of counts of many kinds, of tools and public bug reports, reads them, and prints a table of what
became of each.

usage: .venv/bin/python measurements/input_files.py WORK [OTHER_REPO]
    WORK        folder to work in; it must not exist
    OTHER_REPO  another version of the workflow, which is the column "before"

What is in the files is known. A file is read right if counts, genes, cells, batches and labels are exactly those; or it
is refused, with the words of the error. Files that hold no counts, or not what is asked for, must be refused. Each file
is read in a process of its own, for at most 60 s.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
LIMIT, N_WORDS = 60, 110
NO_LIMITS = {"min_counts": 0, "min_genes": 0, "max_mito_share": None, "mads": None, "min_batch_cells": 1}
DEFAULTS = {"layer": None, "batch_key": "-", "batch_is_default": False, "label_keys": [], "gene_key": None}
DEFAULTS |= {"protein_key": None, "protein_is_default": False, "metadata": None, "control": None}


def write_files(work: Path) -> list[dict[str, Any]]:
    """Write a file of each kind, and return what is known of them."""
    import input_kinds
    import input_kinds_anndata  # noqa: F401
    import input_kinds_text  # noqa: F401

    world, kinds = input_kinds.make_world(), []
    for i, write in enumerate(input_kinds.WRITERS.values()):
        folder = work / f"{i:02d}"
        folder.mkdir(parents=True)
        kind = vars(write(folder, world)) | {"ids": input_kinds.IDS, "symbols": input_kinds.SYMBOLS}
        kind["counts"] = None if kind["counts"] is None else kind["counts"].tolist()
        kinds.append(kind)
    return kinds


def read_kind(kind: dict[str, Any]) -> str:
    """Return what becomes of a file: right, WRONG (…) or refused: …"""
    from refatlas.errors import InputError

    row = DEFAULTS | kind["row"]
    try:
        found = _wrong(kind, row)
    except InputError as error:
        words = str(error).replace(str(row["path"]), "FILE").replace("|", "\\|").replace("\n", " ")
        return f"refused: {words[:N_WORDS]}" if not os.environ.get("ALL_WORDS") else f"refused: {words}"
    if kind["counts"] is None:
        return "WRONG (accepted)"
    return f"WRONG ({found})" if found else "right"


def _opened(row: dict[str, Any]) -> Any:
    from refatlas.io import raw_counts

    if hasattr(raw_counts, "open_row"):
        from refatlas.io.formats import require_readable

        require_readable(row["path"], "sheet:")
        return raw_counts.open_row(row)
    return raw_counts.open_counts(row["path"], row["layer"], row["metadata"])


def _wrong(kind: dict[str, Any], row: dict[str, Any]) -> str:
    """Return what of a file was read wrongly; "" for nothing."""
    import numpy as np

    from refatlas.prepare.cell_quality import scan_file

    file = _opened(row)
    scan = scan_file(file, "d", row, NO_LIMITS, ["unassigned"])
    counts = np.vstack([block.toarray() for _, block in file.blocks()])
    counts, wrong = _by_gene(kind, counts, scan.genes)
    wrong = [wrong] if wrong else []
    cells = list(map(str, file.cells.index))
    if cells != (kind["cells"] or cells):
        wrong.append(f"cells {cells[:2]}")
    if kind["counts"] is not None and (
        counts.shape != np.shape(kind["counts"]) or not np.array_equal(counts, kind["counts"])
    ):
        share = counts.sum() / np.sum(kind["counts"])
        wrong.append(f"{file.location}: {share:.0%} of the counts")
    for column, name in (("batches", "batch"), ("labels", "label")):
        if kind[column] is not None:
            read = [None if value != value or value is None else str(value) for value in scan.cells[name]]
            expected = [f"d:{value}" for value in kind[column]] if name == "batch" else kind[column]
            wrong += [f"{column} {read[:2]}"] if read != expected else []
    return "; ".join(wrong)


def _by_gene(kind: dict[str, Any], counts: Any, genes: Any) -> tuple[Any, str]:
    """Return the counts in the order of the true genes, and what is wrong with the genes."""
    import numpy as np
    import pandas as pd

    from refatlas.prepare.genes import genes_from_names, match_genes

    if kind["reference"]:
        from refatlas.prepare.gene_overlap import missing_genes, require_overlap

        reference = genes_from_names(kind["ids"]).assign(symbol=kind["symbols"], selected=True)
        reference = reference.set_index(pd.Index(kind["ids"]))
        require_overlap("'d'", reference, genes, missing_genes(reference, genes), 0.8)
        places = match_genes(reference, genes)
        names = np.array([kind["genes"][i] if i >= 0 else "" for i in places], dtype=object)
    else:
        key = "gene_id" if kind["genes"] == kind["ids"] else "symbol"
        names = genes[key].fillna("").to_numpy()
    known = pd.Index(kind["genes"])
    rows = known.get_indexer(names)
    summed = np.zeros((len(counts), len(known)))
    np.add.at(summed.T, rows[rows >= 0], counts.T[rows >= 0])
    lost = [*names[rows < 0], *known[~known.isin(names)]]
    return summed, f"genes {lost[:3]} ({len(lost)})" if lost else ""


def _child(kind: dict[str, Any], connection: Any) -> None:
    try:
        connection.send(read_kind(kind))
    except Exception as error:  # noqa: BLE001 - a table is wanted, whatever happens
        if os.environ.get("ALL_WORDS"):
            traceback.print_exc()
        connection.send(f"WRONG (error {type(error).__name__}: {str(error)[:80]})")


def read_all(kinds: list[dict[str, Any]]) -> list[str]:
    """Return what becomes of each file, each read in a process of its own."""
    import refatlas.prepare.cell_quality  # noqa: F401  (imported once, before processes are made)

    context, results = multiprocessing.get_context("fork"), []
    for kind in kinds:
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(kind, theirs))
        process.start()
        results.append(ours.recv() if ours.poll(LIMIT) else f"WRONG (more than {LIMIT} s)")
        process.kill()
    return results


def results_of(repo: Path, work: Path, name: str) -> list[str]:
    """Return what becomes of each file with the code of a version."""
    environment = os.environ | {"PYTHONPATH": str(repo / "workflow" / "scripts")}
    command = [sys.executable, __file__, "--read", str(work / "kinds.json"), str(work / f"{name}.json")]
    subprocess.run(command, env=environment, check=True)
    return json.loads((work / f"{name}.json").read_text())


def main(arguments: list[str]) -> None:
    """Print the table."""
    if arguments[0] == "--read":
        Path(arguments[2]).write_text(json.dumps(read_all(json.loads(Path(arguments[1]).read_text()))))
        return
    work = Path(arguments[0]).resolve()
    kinds = write_files(work)
    (work / "kinds.json").write_text(json.dumps(kinds))
    now = results_of(REPO, work, "now")
    before = results_of(Path(arguments[1]), work, "before") if len(arguments) > 1 else [""] * len(kinds)
    print("| kind | before | now |\n|---|---|---|")
    for kind, old, new in zip(kinds, before, now, strict=True):
        print(f"| {kind['name']} | {old} | {new} |")


if __name__ == "__main__":
    main(sys.argv[1:])
