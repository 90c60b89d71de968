"""Hostile names, sheets, configurations and files end in an InputError that names what is wrong, or
in a right result; nothing runs, and nothing hangs.

More of each by REFATLAS_FUZZ=N (examples of a property) and `python tests/hostile.py --each N`
(damaged files of each kind).
"""

import json
import os
import unicodedata
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from conftest import sheet_row, small_counts
from hostile import HTML, NASTY, SHELL, try_damaged_files
from refatlas.config.folds import folds
from refatlas.config.schema_files import load_schema
from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets
from refatlas.config.validation import NAME
from refatlas.errors import InputError, listed, shown
from refatlas.io.atomic import read_csv, write_table
from refatlas.io.raw_counts import open_counts
from refatlas.models.model_files import load_model, save_model
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.genes import match_genes, merge_genes
from refatlas.transfer.newick import MAX_DEPTH, read_newick, write_newick

BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}
N_EXAMPLES = int(os.environ.get("REFATLAS_FUZZ", 40))
FUZZ = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize="REFATLAS_FUZZ" not in os.environ,
    database=None,
    suppress_health_check=list(HealthCheck),
)

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3000)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(NASTY)
    | st.dates()
    | st.sampled_from([10**400, -(10**30), 1e308]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(NASTY) | st.integers(), inner, max_size=4)
    ),
    max_leaves=8,
)


def sections():
    """Configurations of known keys, each with a value of the right or of any kind."""
    properties = load_schema("config")["properties"]
    parts = {
        key: st.fixed_dictionaries({}, optional=dict.fromkeys(part.get("properties", {}), values)) | values
        for key, part in properties.items()
        if key not in BASE
    }
    models = st.dictionaries(
        st.text(max_size=8) | st.sampled_from(["scvi", "linear", "m", *NASTY]),
        values
        | st.fixed_dictionaries(
            {"type": st.sampled_from(["scvi", "scanvi", "linear", "expimap"])},
            optional={"train": values, "model": values, "init_from": values},
        ),
        max_size=3,
    )
    return st.fixed_dictionaries(
        dict.fromkeys(BASE, st.sampled_from(["reference.tsv", *NASTY])), optional={**parts, "models": models | values}
    )


def ending(function, value):
    """Return what a function returns and "", or None and the message of the InputError that it
    raises.
    """
    try:
        found = function(value)
    except InputError as error:
        event("refused")
        return None, str(error)
    event("taken")
    return found, ""


@FUZZ
@given(sections())
def test_any_configuration_is_complete_or_refused(config):
    found, said = ending(complete_config, config)
    if found is None:
        assert said.startswith("config")
        assert len(said) < 3000
        assert said.isprintable()
        return
    assert all(NAME.fullmatch(name) for name in found["models"])
    assert len(folds(found["evaluation"])) <= 2000
    assert yaml.safe_load(yaml.safe_dump(found, allow_unicode=True)) == found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.h5ad", "q.h5ad"):
        (tmp_path / name).write_text("")
    (tmp_path / "queries.tsv").write_text("query\tpath\nq\tq.h5ad\n")
    return tmp_path


cells = st.sampled_from(["a", "b", "a.h5ad", "q.h5ad", "-", "", *NASTY]) | st.text(max_size=10)
sheets = st.builds(
    lambda header, rows, tab, end, mark, encoding: (mark + end.join(tab.join(row) for row in [header, *rows])).encode(
        encoding, errors="replace"
    ),
    st.just(["dataset", "path"])
    | st.just(["dataset", "path", "label_key", "batch_key"])
    | st.lists(st.sampled_from(["dataset", "path", "layer", "x", ""]), max_size=5),
    st.lists(st.lists(cells, max_size=5), max_size=5) | st.just([["a", "a.h5ad"]]),
    st.sampled_from(["\t", "\t", ","]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["", "\ufeff"]),
    st.sampled_from(["utf-8", "utf-8", "latin-1", "utf-16"]),
)


@FUZZ
@given(sheets | st.binary(max_size=200))
def test_any_sheet_is_read_or_refused(folder, config, content):
    (folder / "reference.tsv").write_bytes(content)
    found, said = ending(load_sheets, config)
    if found is None:
        assert "reference.tsv" in said
        assert said.isprintable()
        return
    assert all(NAME.fullmatch(name) and os.path.exists(row["path"]) for name, row in found[0].items())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "column 'dataset' is missing"),
        (b"dataset\tpath\n", "the sheet has no rows"),
        ("dataset\tpath\nna\u00efve\ta.h5ad\n".encode("latin-1"), "byte 15 is not valid UTF-8"),
        ("dataset\tpath\na\ta.h5ad\n".encode("utf-16"), "is not valid UTF-8"),
        (b"dataset\tpath\na\ta.h5ad\0\n", "NUL characters"),
        (b"# said\n\ndataset\tpath\n\n# more\nb c\ta.h5ad\n", r"line 6: dataset 'b c' is not allowed"),
        (b"dataset\tpath\na\ta.h5ad\tmore\n", "3 values for 2 columns; is there a tab in a value"),
        (b"dataset\tpath\tpath\na\ta.h5ad\ta.h5ad\n", "column 'path' is in the sheet twice"),
        (b'dataset\tpath\na\t"a.h5ad\n', "line 2: unexpected end of data"),
        (b"dataset\tpath\n" + b"a" * 101 + b"\ta.h5ad\n", "too long for a part of a file name"),
        (b"dataset\tpath\na\tx" + b"y" * 200_000 + b"\n", "field larger than field limit"),
        (b"dataset\tpath\na\t{split}.h5ad\n", "contains one of { } < >, which Snakemake takes for placeholders"),
        (b"dataset\tpath\na\t/dev/zero\n", "'/dev/zero' is neither a file nor a folder"),
        (b"dataset\tpath\na\t\xe2\x80\xaegnp.h5ad\n", r"\\u202egnp.h5ad' does not exist"),
        (b"dataset\tpath\n$(touch pwned)\ta.h5ad\n", "is not allowed"),
    ],
)
def test_hostile_sheets_are_refused(folder, content, said):
    (folder / "reference.tsv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_sheets(complete_config(BASE))
    assert sorted(os.listdir(folder)) == ["a.h5ad", "q.h5ad", "queries.tsv", "reference.tsv"]


def test_sheets_of_other_programs_are_read(folder):
    (folder / "reference.tsv").write_bytes(b'\xef\xbb\xbfdataset\tpath\r\n\r\n# a comment\r\na\t"a.h5ad"\r\n')
    assert load_sheets(complete_config(BASE))[0]["a"]["path"] == "a.h5ad"
    (folder / "queries.tsv").write_bytes(b"query\tpath\rq\tq.h5ad\r")
    assert list(load_sheets(complete_config(BASE))[1]) == ["q"]


def test_a_sheet_of_a_hundred_thousand_rows_is_read_in_seconds(folder):
    (folder / "reference.tsv").write_text("dataset\tpath\na\ta.h5ad\n")
    (folder / "queries.tsv").write_text("query\tpath\n" + "".join(f"q{i}\tq.h5ad\n" for i in range(100_000)))
    assert len(load_sheets(complete_config(BASE))[1]) == 100_000


def bomb(levels: int, wrap) -> object:
    found = "lol"
    for _ in range(levels):
        found = wrap(found)
    return found


CYCLE: list = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"unlabeled": bomb(15, lambda x: [x] * 9)}, r"values, counting what its anchors \(&, \*\) repeat"),
        ({"genes": bomb(15, lambda x: dict.fromkeys("abcdefghi", x))}, r"values, counting what its anchors"),
        ({"unlabeled": CYCLE}, "nested more than 20 levels deep"),
        ({"seed": float("nan")}, "config: seed: nan is not a finite number"),
        ({"deliver": {"alpha": float("inf")}}, "config: deliver: alpha: inf is not a finite number"),
        ({"deliver": {"alpha": ".nan"}}, "config: deliver: alpha: nan is not a finite number"),
        ({"genes": {"n_top": 10**20}}, "config: genes: n_top: a number of 67 bits; numbers may be at most"),
        ({"genes": {"n_top": 16**20_000}}, "a number of 80001 bits"),
        ({16**20_000: 1}, "a number of 80001 bits"),
        ({"genes": {"n_top": 2000.0}}, "2000.0 has the wrong type; expected integer"),
        ({"genes": {"n_top": "2001-13-45"}}, "'2001-13-45' has the wrong type"),
        ({"genes": {"n_top": "[" * 100_000}}, r"has the wrong type; expected integer"),
        ({"genes": {"n_top": "x" * 10**6}}, r"… \(1,000,002 characters\) has the wrong type"),
        ({"evaluation": {"folds": 10**9}}, r"folds: 1000000000 is not allowed \(number of folds"),
        ({"evaluation": {"folds": {1: ["a"], "1": ["b"]}}}, "folds: name '1' is used twice"),
        (
            {"models": {"m": {"type": "scvi", "model": {"n_layers": 10**6}}}},
            "1000000 is greater than the maximum of 100",
        ),
        ({"models": {"set": {"type": "scvi"}}}, "name 'set' is reserved"),
        ({"models": {"delivered": {"type": "scvi"}}}, "name 'delivered' is reserved"),
        ({"models": {"m" * 101: {"type": "scvi"}}}, "too long for a part of a file name"),
        ({"batch_key": "a\0b"}, "characters that are not allowed in text files"),
        ({"batch_key": "\ud800"}, "characters that are not allowed in text files"),
        ({"tree": {"file": "{split}.nwk"}}, "which Snakemake takes for placeholders"),
    ],
)
def test_hostile_configurations_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        complete_config({**BASE, **change})


def test_trees_of_any_depth(folder):
    deep = "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH + ";"
    assert write_newick(*read_newick(deep, "tree")).count("(") == MAX_DEPTH
    with pytest.raises(InputError, match="brackets are nested more than 100 deep"):
        read_newick(f"({deep[:-1]});", "tree")
    (folder / "tree.nwk").write_bytes(b"(\xff,b);")
    with pytest.raises(InputError, match="byte 1 is not valid UTF-8"):
        complete_config({**BASE, "tree": {"models": ["scvi"], "file": "tree.nwk"}})


def scanned(folder, config, labels=None, batches=None, genes=None, unlabeled=(), **row):
    """Return the scan of a small file whose first values are these."""
    counts = small_counts()
    for column, given_values in (("cell_type", labels), ("batch", batches)):
        if given_values is not None:
            counts.obs[column] = [*given_values, *counts.obs[column].iloc[len(given_values) :]]
    if genes is not None:
        counts.var_names = [*genes, *counts.var_names[len(genes) :]]
    counts.write_h5ad(folder / "x.h5ad")
    path = sheet_row(folder / "x.h5ad", **row)
    return scan_file(
        open_counts(path["path"]), "d", path, {**config["qc"], "min_counts": 0, "min_genes": 0}, list(unlabeled)
    )


def test_labels_and_batches_of_any_name_stay_as_they_are(tmp_path, config):
    names = [
        name
        for name in (*SHELL, *HTML, "nan", "None", "delivered", "root", "a:b", "a/b", "=1+1", 'a,"b"', "細胞", "🧬")
        if "| " not in name
    ]
    found = scanned(tmp_path, config, labels=names, batches=names)
    assert list(found.cells["label"].iloc[: len(names)]) == names
    assert list(found.cells["batch"].iloc[: len(names)]) == [f"d:{name}" for name in names]
    write_table(found.cells[["barcode", "label", "batch"]], str(tmp_path / "labels.csv"))
    assert read_csv(str(tmp_path / "labels.csv"))["label"].tolist() == found.cells["label"].tolist()
    assert not list(Path().glob("pwned"))


def test_text_of_our_tables_is_no_missing_value(tmp_path):
    table = pd.DataFrame(
        {
            "label": ["NA", "null", "1", "nan", "#N/A", ""],
            "model": "null",
            "n_cells": [1, 2, 3, 4, 5, 6],
            "f1": [0.5, np.nan, 1, 1, 1, 1],
        }
    )
    # Of a tree, of the choice of a model, of groups, of clonotypes in common, and of delivered labels.
    names = ("node", "unit", "lost_labels", "only_clusters", "suggestion", "symbol", "first", "second", "set_label")
    table = table.assign(**dict.fromkeys(names, table["label"]))
    write_table(table, str(tmp_path / "t.csv"))
    pd.testing.assert_frame_equal(read_csv(str(tmp_path / "t.csv")), table)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["__unlabeled__"], "is what models call cells without a label"),
        (["x" * 201], "is longer than 200 characters"),
    ],
)
def test_labels_that_would_be_taken_for_something_else_are_refused(tmp_path, config, labels, said):
    with pytest.raises(InputError, match=said):
        scanned(tmp_path, config, labels=labels)


def test_values_that_mean_no_label(tmp_path, config):
    found = scanned(tmp_path, config, labels=["", "  ", "__unlabeled__", "<NA>"], unlabeled=["__unlabeled__", "<NA>"])
    assert found.cells["label"].iloc[:5].isna().tolist() == [True, True, True, True, False]


def test_one_name_typed_in_two_ways_is_one_name(tmp_path, config):
    composed, decomposed = (unicodedata.normalize(form, "naïve") for form in ("NFC", "NFD"))
    assert composed != decomposed
    found = scanned(
        tmp_path, config, labels=[composed, decomposed], batches=[composed, decomposed], genes=[composed, decomposed]
    )
    assert found.cells["label"].iloc[0] == found.cells["label"].iloc[1] == composed
    assert found.cells["batch"].nunique() == 3
    genes = merge_genes([found.genes])
    assert match_genes(genes, found.genes)[:2].tolist() == [0, 0]
    assert "name the same gene as another column" in " ".join(found.summary["notes"])


def test_genes_of_any_name(tmp_path, config):
    names = ["nan", "x" * 10_000, "<script>", "$(touch pwned)", "a\nb", "-rf"]
    found = scanned(tmp_path, config, genes=names)
    assert found.genes["symbol"].iloc[: len(names)].tolist() == names
    assert merge_genes([found.genes]).index[: len(names)].tolist() == names


def test_names_that_no_file_can_hold(tmp_path, config):
    small_counts().write_h5ad(tmp_path / "x.h5ad")
    table = pd.DataFrame({"cell": [f"cell{i}" for i in range(60)], "batch": "b", "cell_type": ["A\0"] * 60}).set_index(
        "cell"
    )
    table.to_parquet(tmp_path / "m.parquet")
    row = sheet_row(tmp_path / "x.h5ad", metadata=str(tmp_path / "m.parquet"))
    with pytest.raises(InputError, match=r"label 'A\\x00' has characters that no file can hold"):
        scan_file(open_counts(row["path"], None, row["metadata"]), "d", row, config["qc"], [])


def test_messages_hold_no_control_characters_and_no_endless_names():
    assert shown("a\x1b[31mb\n\u202e") == r"a\x1b[31mb\n\u202e"
    assert len(listed(["x" * 10_000] * 100)) < 1000


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b'cell,batch\n"c', b"\x1f\x8b\x08garbage"])
@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "tsv"])
def test_damaged_metadata_is_refused(tmp_path, content, ending):
    small_counts().write_h5ad(tmp_path / "x.h5ad")
    (tmp_path / f"m.{ending}").write_bytes(content)
    with pytest.raises(InputError, match=rf"m.{ending}: "):
        open_counts(str(tmp_path / "x.h5ad"), None, str(tmp_path / f"m.{ending}"))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ("%%MatrixMarket matrix coordinate integer general\n2 2\n", "cannot be read"),
        ("%%MatrixMarket matrix coordinate integer general\n2 2 1\n9 1 1\n", "row 9 is beyond its 2 rows"),
        ("%%MatrixMarket matrix coordinate integer general\n2 2 1\n1 9 1\n", "column 9 is beyond its 2 columns"),
        ("%%MatrixMarket matrix coordinate integer general\n2 2 1\n0 1 1\n", "row 0 .* begin at 1"),
        (
            "%%MatrixMarket matrix coordinate integer general\n2 2 99999999999999\n1 1 1\n",
            "cannot be read|holds another number",
        ),
        ("%%MatrixMarket matrix coordinate integer general\n2 2 1\n1 1 x\n", "cannot be read"),
        ("", "begins with ''"),
    ],
)
def test_hostile_mtx_folders_are_refused(tmp_path, matrix, said):
    (tmp_path / "matrix.mtx").write_text(matrix)
    (tmp_path / "genes.tsv").write_text('A\tA\n"B\tB\n')
    (tmp_path / "barcodes.tsv").write_text("NA\nnan\n")
    with pytest.raises(InputError, match=said):
        list(open_counts(str(tmp_path)).blocks())


def test_barcodes_and_symbols_of_an_mtx_folder_are_taken_as_they_are(tmp_path):
    (tmp_path / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n2 2 1\n1 1 3\n")
    (tmp_path / "genes.tsv").write_text('A\tNA\n"B\tB\n')
    (tmp_path / "barcodes.tsv").write_text('NA\n"nan\n')
    file = open_counts(str(tmp_path))
    assert file.cells.index.tolist() == ["NA", '"nan']
    assert file.genes["gene_symbols"].tolist() == ["NA", "B"]


def test_a_zarr_that_would_unpickle_is_refused(tmp_path, monkeypatch):
    """A pickle that makes a file, as an array of an old zarr may hold."""
    import pickle

    class Bad:
        def __reduce__(self):
            return open, (str(tmp_path / "pwned"), "w")

    monkeypatch.setattr(ad.settings, "zarr_write_format", 2)
    small_counts().write_zarr(tmp_path / "x.zarr")
    index = tmp_path / "x.zarr" / "obs" / "_index"
    description = json.loads((index / ".zarray").read_text())
    (index / ".zarray").write_text(
        json.dumps(description | {"filters": [{"id": "pickle", "protocol": 5}], "compressor": None})
    )
    for chunk in index.glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(np.array([Bad()], dtype=object)))
    with pytest.raises(InputError, match=r"x.zarr: cannot be read"):
        open_counts(str(tmp_path / "x.zarr"))
    assert not (tmp_path / "pwned").exists()


def test_damaged_files_are_refused_or_read():
    """Truncated, flipped and overwritten at random places; a value changed to another count is all
    that nothing in a file can tell.
    """
    ends, bad = try_damaged_files(12, seed=3, kinds=("csr gzip", "csr", "10x h5"))
    assert bad == []
    assert all(found["refused"] >= 3 for found in ends.values())


def test_a_model_is_loaded_only_as_it_was_written(tmp_path):
    from refatlas.models.linear import Linear

    file = tmp_path / "m" / "model.pt"
    save_model(Linear({"batches": np.array(["b"])}), str(file), {"type": "linear"})
    assert load_model("linear", str(file)).batches() == ["b"]
    assert (tmp_path / "m" / "model.pt.sha256").read_text().endswith("  model.pt\n")
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        InputError, match=r"model.pt: its sha256 is .*Restore it, or delete .*/m and run the workflow again"
    ):
        load_model("linear", str(file))
    file.write_bytes(content)
    (tmp_path / "m" / "model.pt.sha256").unlink()
    with pytest.raises(InputError, match=r"model.pt.sha256 has none"):
        load_model("linear", str(file))


def test_figures_show_any_label_as_it_is(tmp_path):
    import matplotlib.pyplot as plt

    from refatlas.plots import category_colors, draw_categories, save_figure

    names = ["$\\frac{", "$x$ $y_{", "_hidden", "a\nb", "<b>", "細胞"]
    figure, ax = plt.subplots()
    draw_categories(ax, np.zeros((len(names), 2)), pd.Series(names), category_colors(names), 3)
    save_figure(figure, str(tmp_path / "f.png"))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
