"""Columns of the sheets that say how a file is read in another way than usual."""

import pytest

from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheet
from refatlas.errors import InputError


def rows(tmp_path, sheet: str, genes: dict | None = None):
    (tmp_path / "a.csv").write_text("cell,x\na,1\n")
    (tmp_path / "reference.tsv").write_text(
        sheet.replace("FILE", str(tmp_path / "a.h5ad")).replace("TABLE", str(tmp_path / "a.csv"))
    )
    config = complete_config(
        {"reference": str(tmp_path / "reference.tsv"), "models": {"linear": {"type": "linear"}}, "genes": genes or {}}
    )
    return load_sheet(config["reference"], "reference", config, produced=(str(tmp_path / "a.h5ad"),)), config


def test_options_that_are_not_set_are_no_keys(tmp_path):
    plain, config = rows(tmp_path, "dataset\tpath\na\tFILE\n")
    named, _ = rows(tmp_path, "dataset\tpath\tround\tgenome\tmetadata_cells\na\tFILE\tfalse\t\t\nb\tFILE\t\t\tall\n")
    assert plain["a"] == named["a"] == named["b"]
    assert not {"round", "genome", "listed_cells", "previous_symbols"} & set(plain["a"])
    # The setting is a param of rules, which an upgrade must not run again.
    assert "previous_symbols" not in config["genes"]


def test_options_that_are_set_are_keys(tmp_path):
    sheet = "dataset\tpath\tround\tgenome\tmetadata\tmetadata_cells\na\tFILE\tTrue\thg19\tTABLE\tlisted\n"
    found, config = rows(tmp_path, sheet, {"previous_symbols": True})
    wanted = {"round": True, "genome": "hg19", "listed_cells": True, "previous_symbols": True}
    assert {key: found["a"].get(key) for key in wanted} == wanted
    assert config["genes"]["previous_symbols"] is True


@pytest.mark.parametrize("word", ["yes", "TRUE", "1", "x"])
def test_words_for_yes(tmp_path, word):
    assert rows(tmp_path, f"dataset\tpath\tround\na\tFILE\t{word}\n")[0]["a"]["round"] is True


@pytest.mark.parametrize(
    ("header", "values", "said"),
    [
        ("round", "maybe", "round is 'maybe'; write true or false"),
        ("metadata_cells", "listed", "names no metadata"),
        ("metadata_cells", "some", "metadata_cells is 'some'; write all"),
    ],
)
def test_wrong_options_are_refused(tmp_path, header, values, said):
    with pytest.raises(InputError, match=f"line 2: .*{said}|line 2: {said}"):
        rows(tmp_path, f"dataset\tpath\t{header}\na\tFILE\t{values}\n")
