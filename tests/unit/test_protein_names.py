"""Proteins of other panels and clones: named by a table, suggested where names are alike, refused if none matches."""

import numpy as np
import pandas as pd
import pytest

from conftest import sheet_row, small_counts, write_sheets
from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets
from refatlas.errors import InputError
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.protein_names import likely_names, read_protein_names, rename_proteins
from refatlas.prepare.proteins import align_proteins, protein_notes, read_proteins

KNOWN = ["CD3", "CD4", "CD45RA", "PD-1", "HLA-DR"]


def names_table(folder, text: str) -> str:
    (folder / "names.tsv").write_text(text)
    return str(folder / "names.tsv")


@pytest.mark.parametrize(
    ("name", "protein"),
    [
        ("CD3_UCHT1", "CD3"),
        ("CD45RA (TotalSeqB)", "CD45RA"),
        ("CD4-A0072", "CD4"),
        ("anti-human PD-1 (CD279)", "PD-1"),
        ("HLA.DR", "HLA-DR"),
        ("ADT_CD4", "CD4"),
        ("CD45RO", None),
        ("CD11b", None),
        ("IgG1", None),
    ],
)
def test_suggestions(name, protein):
    assert likely_names([name], KNOWN).get(name) == protein


def test_alike_names_are_shown_in_a_refusal_alone():
    assert likely_names(["CD45RO"], KNOWN, alike=True) == {"CD45RO": "CD45RA"}


def panel(folder, columns) -> str:
    counts = small_counts()
    values = np.random.default_rng(1).poisson(20, (counts.n_obs, len(columns))).astype(np.float64)
    counts.obsm["adt"] = pd.DataFrame(values, index=counts.obs_names, columns=columns)
    counts.write_h5ad(folder / "query.h5ad")
    return str(folder / "query.h5ad")


def test_a_table_names_other_clones_and_the_rest_stays(tmp_path):
    path = panel(tmp_path, ["CD3_UCHT1", "CD4", "Made-up"])
    table = names_table(tmp_path, "# clones\nname\tprotein\nCD3_UCHT1\tCD3\nCD45RA_HI100\tCD45RA\n")
    row = sheet_row(path, protein_key="adt", protein_is_default=False, protein_names=table)
    file = open_counts(path)
    found = read_proteins(file, row, np.repeat("b", 60))
    assert list(found.columns) == ["CD3", "CD4", "Made-up"]
    assert f"proteins: 1 named by {table} (CD3_UCHT1 as CD3)" in file.notes
    aligned = align_proteins(found, KNOWN)
    assert np.array_equal(aligned["CD3"], found["CD3"])
    assert not aligned[["CD45RA", "PD-1", "HLA-DR"]].any(axis=None)
    assert protein_notes("q", list(found.columns), KNOWN) == [
        "proteins: 2 of the reference's 5 proteins measured; to be imputed: CD45RA, PD-1, HLA-DR; not in the reference:"
        " Made-up"
    ]


def test_what_may_be_the_same_is_said_and_not_used():
    note = protein_notes("q", ["CD3_UCHT1", "CD4"], ["CD3", "CD4"])[0]
    assert note.startswith("proteins: 1 of the reference's 2 proteins measured; to be imputed: CD3")
    assert note.endswith("to use them, name in protein_names: CD3_UCHT1 may be CD3")


def test_a_panel_without_any_protein_of_the_atlas_is_refused():
    message = (
        r"query 'q': none of its 2 proteins \(CD3_UCHT1, IgG1\) is one of the atlas' 5 \(CD3, .*HLA-DR\); closest:"
        r" CD3_UCHT1 may be CD3; name those .* protein_names in the sheet; or set protein_key to '-'"
    )
    with pytest.raises(InputError, match=message):
        protein_notes("query 'q'", ["CD3_UCHT1", "IgG1"], KNOWN)
    assert protein_notes("q", [], KNOWN) == protein_notes("q", ["CD3"], []) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clone\tprotein\na\tb\n", r"line 2: query 'q': protein_names: .* has no column 'name'; it has clone, protein"),
        ("", "has no column 'name'"),
        ("name,protein\n", "has no rows"),
        ("name,protein\nA,\n", "a row has no protein"),
        ("name,protein\nA,CD3\nA,CD4\n", "'A' is both 'CD3' and 'CD4'"),
    ],
)
def test_bad_tables_are_refused_at_planning(tmp_path, text, message):
    path = panel(tmp_path, ["CD3"])
    row = {"query": "q", "path": path, "protein_names": names_table(tmp_path, text)}
    write_sheets(tmp_path, [{"dataset": "d", "path": path}], [row])
    sheets = {"reference": str(tmp_path / "reference.tsv"), "queries": str(tmp_path / "queries.tsv")}
    with pytest.raises(InputError, match=message):
        load_sheets(complete_config(sheets))


def test_rows_without_a_table_stay_as_they_were(tmp_path):
    path = panel(tmp_path, ["CD3"])
    row = {"query": "q", "path": path, "protein_names": names_table(tmp_path, "name,protein\nA,CD3\n")}
    write_sheets(tmp_path, [{"dataset": "d", "path": path}], [row])
    sheets = {"reference": str(tmp_path / "reference.tsv"), "queries": str(tmp_path / "queries.tsv")}
    datasets, queries = load_sheets(complete_config(sheets))
    assert "protein_names" not in datasets["d"]
    assert queries["q"]["protein_names"] == row["protein_names"]


def test_names_that_fit_no_protein_and_two_clones_of_one_are_refused():
    with pytest.raises(InputError, match=r"f: protein_names has X, and none of them is a protein of the file.*A, B"):
        rename_proteins(["A", "B"], {"X": "CD3"}, "f")
    with pytest.raises(InputError, match=r"f: A, B would all be 'CD3'; keep the row of one"):
        rename_proteins(["A", "B"], {"A": "CD3", "B": "CD3"}, "f")


def test_a_table_with_other_files_names_in_any_order_of_columns(tmp_path):
    path = names_table(tmp_path, "Protein,source,Name\nCD3,kit,CD3_UCHT1\nCD3,kit,CD3_OKT3\n")
    assert read_protein_names(path, "here") == {"CD3_UCHT1": "CD3", "CD3_OKT3": "CD3"}
