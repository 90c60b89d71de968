"""The line of an accepted file, the command that shows a file, and notes on labels and batches."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from refatlas.errors import InputError
from refatlas.io.raw_counts import open_row
from refatlas.jobs import run
from refatlas.prepare.cell_columns import MIN_CELLS, read_batches, read_labels
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.file_lines import file_line, further_notes, screen_text
from refatlas.prepare.inspect import main

QC = {"min_counts": 3, "min_genes": 1, "max_mito_share": None, "mads": None, "min_batch_cells": 50}


def write_file(path, **columns) -> dict:
    """Write 2 × MIN_CELLS cells × 4 genes, normalised in X and counts in a layer; return its row."""
    n = 2 * MIN_CELLS
    x = sparse.csr_matrix(np.tile([[1, 2, 0, 3], [0, 1, 1, 0]], (MIN_CELLS, 1)).astype(np.float32))
    obs = pd.DataFrame(columns, index=[f"c{i}x" for i in range(n)])
    var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(4)]}, index=["CD3E", "CD19", "LYZ", "NKG7"])
    data = ad.AnnData(x.log1p(), obs=obs, var=var)
    data.layers["counts"] = x
    data.write_h5ad(path)
    return {
        "path": str(path),
        "layer": None,
        "metadata": None,
        "batch_key": "donor",
        "batch_is_default": False,
        "label_keys": ["cell_type"],
        "gene_key": None,
        "protein_key": None,
        "protein_is_default": True,
        "control": None,
    }


def values(*names) -> list:
    return list(names) * (2 * MIN_CELLS // len(names))


def test_an_accepted_file_is_one_line_with_numbers(tmp_path):
    row = write_file(tmp_path / "blood.h5ad", donor=values("a", "b"), cell_type=values("T", "B", "NK", None))
    summary = scan_file(open_row(row), "blood", row, QC, []).summary
    line = file_line(summary, "dataset")
    assert line == (
        "dataset blood: blood.h5ad (h5ad file): 200 cells × 4 genes; counts: layers/counts (passed over: X);"
        " genes: 4 ids of column 'gene_ids', 4 symbols of the index; batches: 2 of column 'donor';"
        " labels: 3 of column 'cell_type', 50 cells without; dropped: 100 cells (too few counts 100)"
    )
    assert "flagged: 100 cells" in file_line(summary, "query")
    assert [place["location"] for place in summary["places"]] == ["X", "layers/counts"]
    assert screen_text(summary, "dataset").split("\n") == [line, *(f"  {note}" for note in further_notes(summary))]


def test_the_line_says_what_is_of_the_metadata_and_what_is_not_named(tmp_path):
    row = write_file(tmp_path / "a.h5ad") | {"metadata": str(tmp_path / "m.csv"), "batch_key": "-"}
    names = [f"c{i}x" for i in range(2 * MIN_CELLS)]
    pd.DataFrame({"cell_type": values("T", "B")}, index=names).to_csv(tmp_path / "m.csv")
    line = file_line(scan_file(open_row(row), "a", row, QC, []).summary, "dataset")
    assert "batches: the file is one batch; labels: 2 of column 'cell_type' of the metadata" in line
    none = write_file(tmp_path / "b.h5ad") | {"batch_key": "-", "label_keys": []}
    assert "labels: none; " in file_line(scan_file(open_row(none), "b", none, QC, []).summary, "dataset")


@pytest.mark.parametrize("stored", [int, float, str])
def test_labels_that_are_whole_numbers_get_a_note(tmp_path, stored):
    row = write_file(tmp_path / "a.h5ad", donor=values("a", "b"), cell_type=[stored(v) for v in values(0, 1, 2, 10)])
    file = open_row(row)
    assert set(read_labels(file, "a", "cell_type", [])) == {"0", "1", "2", "10"}
    assert "labels: column 'cell_type' holds whole numbers (0, 1, 2 and 1 more)" in file.notes[-1]


def test_parts_of_the_counts_that_are_left_out_are_named_on_the_screen(tmp_path):
    row = write_file(tmp_path / "a.h5ad", donor=values("a", "b"), cell_type=values("T", "B"))
    data = ad.read_h5ad(row["path"])
    spliced = data.layers.pop("counts")
    data.X, data.layers["spliced"], data.layers["unspliced"] = spliced, spliced.copy(), spliced[:, [1, 0, 3, 2]].copy()
    data.write_h5ad(row["path"])
    screen = screen_text(scan_file(open_row(row), "d", row, QC, []).summary, "dataset")
    assert "the other parts are left out; set layer to 'spliced+unspliced' for all" in screen


def test_words_for_a_missing_value_get_a_note_where_they_are_names(tmp_path):
    row = write_file(tmp_path / "a.h5ad", donor=values("a", "nan"), cell_type=values("T", "None", "NA", "B"))
    file = open_row(row)
    assert set(read_labels(file, "a", "cell_type", [])) == {"T", "None", "NA", "B"}
    assert file.notes[-1].startswith("labels: 'NA', 'None' of column 'cell_type' are taken as names")
    read_batches(file, "a", row)
    assert file.notes[-1].startswith("batches: 'nan' of column 'donor'")
    n_notes = len(file.notes)
    assert set(read_labels(file, "a", "cell_type", ["None", "NA"]).dropna()) == {"T", "B"}
    assert len(file.notes) == n_notes


def test_columns_that_name_or_measure_cells_are_no_batches_and_no_labels(tmp_path):
    numbers = [f"n{i}" for i in range(2 * MIN_CELLS)]
    row = write_file(tmp_path / "a.h5ad", donor=numbers, cell_type=np.linspace(0, 1, 2 * MIN_CELLS))
    with pytest.raises(InputError, match="batch_key 'donor' has 200 different values for 200 cells"):
        read_batches(open_row(row), "a", row)
    with pytest.raises(InputError, match=r"label_key 'cell_type' has 200 different values.*names or measures cells"):
        read_labels(open_row(row), "a", "cell_type", [])


def test_a_missing_batch_in_the_metadata_says_what_is_missing(tmp_path):
    row = write_file(tmp_path / "a.h5ad") | {"metadata": str(tmp_path / "m.csv")}
    lines = [f"c{i}x,{'NA' if i == 3 else 'd1'},T" for i in range(2 * MIN_CELLS)]
    (tmp_path / "m.csv").write_text("\n".join(["cell,donor,cell_type", *lines]) + "\n")
    with pytest.raises(InputError, match=r"1 cells have no batch.*NA, None, nan and empty cells are missing values"):
        read_batches(open_row(row), "a", row)


def test_inspect_shows_what_a_run_would_take(tmp_path, capsys):
    row = write_file(tmp_path / "blood.h5ad", donor=values("a", "b"), cell_type=values("T", "B"))
    assert main([row["path"], "--batch-key", "donor", "--label-key", "cell_type"]) == 0
    shown = capsys.readouterr().out.split("\n")
    assert shown[0].startswith("file blood: blood.h5ad (h5ad file): 200 cells × 4 genes; counts: layers/counts")
    assert "dropped" not in shown[0]
    for line in ("  donor: 2 values (a, b)", "batch_key may be: donor (2), cell_type (2)", "protein_key may be: none"):
        assert line in shown
    assert any(line.startswith("  X: 4 genes") and "passed over" in line for line in shown)
    assert any(line.startswith("  layers/counts: 4 genes") and "taken" in line for line in shown)


def test_inspect_ends_with_2_and_the_reason(tmp_path):
    (tmp_path / "a.h5ad").write_bytes(b"X\n\x00\x00\x00\x03")
    command = [sys.executable, "-m", "refatlas.prepare.inspect", str(tmp_path / "a.h5ad")]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert "refused: " in found.stderr
    assert "RDS file of R" in found.stderr


def test_inspect_refuses_values_that_are_no_counts(tmp_path, capsys):
    row = write_file(tmp_path / "a.h5ad")
    assert main([row["path"], "--layer", "X"]) == 2
    assert "log" in capsys.readouterr().err


def test_a_job_prints_on_the_screen_past_its_log(tmp_path, capfd):
    with run.redirect_output(str(tmp_path / "log")) as screen, run._known_screen(screen):
        print("to the log")
        run.print_on_screen("dataset a: é")
    captured = capfd.readouterr()
    assert captured.err == "dataset a: é\n"
    assert (tmp_path / "log").read_text() == "to the log\n"
    run.print_on_screen("outside of a job")
    assert capfd.readouterr().out == "outside of a job\n"
