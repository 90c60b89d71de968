"""Receptors in the configuration and the sheets: off by default, and refused in words before anything runs."""

import pytest

from conftest import write_sheets
from refatlas.config.receptors import parse_tables, require_possible_receptors
from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets, take_receptor_tables
from refatlas.errors import InputError


def completed(**config) -> dict:
    return complete_config({"reference": "r.tsv", **config})


def test_without_receptors_nothing_is_left_of_the_section():
    assert "receptors" not in completed()
    assert "receptors" not in completed(receptors=None)
    assert completed(receptors={})["receptors"] == {
        "alpha": None,
        "beta": None,
        "alpha_v": None,
        "beta_v": None,
        "v_genes": False,
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": "a"}, ": beta is not set; a pair has both chains"),
        ({"alpha": "a", "beta": "a"}, ": alpha and beta are both 'a'"),
        ({"alpha_v": "v"}, ": alpha_v is 'v', and alpha is not set"),
        ({"alpha": "a", "beta": "b", "beta_v": "v", "v_genes": True}, ": v_genes: .* alpha_v is not set"),
        ({"alfa": "a"}, r": unknown key 'alfa' \(did you mean 'alpha'\?\)"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(InputError, match=f"^config: receptors{message}"):
        completed(receptors=settings)


def test_an_atlas_bundle_has_no_receptors():
    require_possible_receptors(completed(), atlas=True)
    with pytest.raises(InputError, match="an atlas bundle has no receptors of the reference"):
        require_possible_receptors(completed(receptors={}), atlas=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv.gz", "c.tsv", "d.txt", "r.h5ad", "q.h5ad", "with,comma=x.csv"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_tables_of_a_sheet(folder):
    assert parse_tables("-", "row") == {}
    assert parse_tables("a.csv", "row") == {"": "a.csv"}
    assert parse_tables("with,comma=x.csv", "row") == {"": "with,comma=x.csv"}
    assert parse_tables("P1=a.csv, P=2=b.csv.gz", "row") == {"P1": "a.csv", "P=2": "b.csv.gz"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gone.csv", "airr 'gone.csv' does not exist"),
        ("a.csv,c.tsv", "'a.csv' is one of several tables, and does not say which batch"),
        ("P1=a.csv,P1=c.tsv", "batch 'P1' has two tables"),
        ("d.txt", "does not end with .csv, .json or .tsv"),
        ("https://host/a.csv", "is an address"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(folder, value, message):
    with pytest.raises(InputError, match=message):
        parse_tables(value, "row")


def test_a_named_table_does_not_change_the_rows_and_is_ignored_without_receptors(folder):
    row = {"dataset": "r", "path": "r.h5ad"}
    (folder / "r.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    plain = read_rows(folder, [row], None)
    assert read_rows(folder, [{**row, "airr": "a.csv"}], None) == plain
    assert "airr" not in plain[0]["r"]
    rows = read_rows(folder, [{**row, "airr": "a.csv"}], {})
    assert take_receptor_tables(*rows) == {"r": {"": "a.csv"}}
    assert rows == plain


def read_rows(folder, rows, receptors):
    write_sheets(folder, rows, [])
    return load_sheets(completed(reference="reference.tsv", receptors=receptors))
