"""Support and change of counterfactual expression, on answers that are known; and its settings."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

from refatlas.config.expression import check_settings, counterfactual_pairs, require_possible
from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.evaluate.counterfactual import (
    PROBE,
    Changes,
    GroupSums,
    correlation,
    labelled_cells,
    log2_fold_change,
    read_both,
    require_batches,
    support_table,
)
from refatlas.io.anndata_file import anndata_file, write_frame
from refatlas.io.dense_file import DenseWriter
from refatlas.prepare.chosen_genes import chosen_genes
from refatlas.report.expression_page import expression_context
from refatlas.report.rendering import render

BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}
PAIR = {"from": "d:a", "to": "d:b"}


def two_batches(n_mixed: int = 60, n_lone: int = 60, n_apart: int = 60, n_few: int = 19):
    """Latent space and cells: one label is mixed, one lacks in batch b, one has its batches far apart, one is rare."""
    random, parts, places = np.random.default_rng(0), [], []
    for label, place, n_to, shift in (
        ("mixed", 0, n_mixed, 0), ("lone", 50, 0, 0), ("apart", 100, n_apart, 20), ("few", 200, n_few, 0),
    ):  # fmt: skip
        n_from = n_lone
        for batch, n, moved in (("d:a", n_from, 0), ("d:b", n_to, shift)):
            parts.append(pd.DataFrame({"batch": [batch] * n, "label": [label] * n}))
            places.append(random.normal(place + moved, 1, (n, 3)))
    return np.concatenate(places).astype(np.float32), pd.concat(parts, ignore_index=True)


def test_support_asks_for_cells_first_and_then_for_mixing():
    latent, cells = two_batches()
    found = support_table(latent, cells, ("d:a", "d:b"), seed=0)
    assert found["supported"].to_dict() == {"apart": False, "few": False, "lone": False, "mixed": True}
    assert found.loc["mixed", "mixing"] == pytest.approx(1, abs=0.2)
    assert found.loc["apart", "mixing"] == 0
    assert np.isnan(found.loc["lone", "mixing"])
    # By neighbours alone the rare label would be supported.
    assert found.loc["few", "mixing"] > 0.5
    assert found.loc["few", "reason"] == "19 cells of the label in the target batch, 20 are needed"
    assert found.loc["apart", "reason"].startswith("the batches do not mix there")


def test_support_does_not_depend_on_the_number_of_threads():
    latent, cells = two_batches()
    one, two = (support_table(latent, cells, ("d:a", "d:b"), seed=0, threads=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_sums_over_blocks_are_those_of_all_cells():
    values, codes = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3 - 1
    sums = GroupSums(2, 4)
    for start in (0, 7, 20):
        stop = {0: 7, 7: 20, 20: 30}[start]
        sums.add(codes[start:stop], values[start:stop])
    assert sums.means() == pytest.approx(np.stack([values[codes == code].mean(axis=0) for code in (0, 1)]))


def test_changes_and_their_stability():
    random = np.random.default_rng(0)
    before = random.gamma(2, 2, (200, 50))
    effect = random.normal(0, 1, 50)
    after = (before + 1) * 2**effect - 1
    changes = Changes(["A", "never"], 50, seed=0)
    changes.add(np.zeros(200, dtype=int), (before, after), (before, after))
    expected = log2_fold_change(after.mean(axis=0), before.mean(axis=0))
    assert changes.change()[0] == pytest.approx(expected)
    stable = changes.stability()
    assert stable.loc["A", "r_thinned"] == pytest.approx(1)
    assert stable.loc["A", "r_halves"] > 0.95
    assert stable.loc["never"].isna().all()
    genes = pd.DataFrame({"symbol": ["x", "y"], "column": [3, 5]}, index=["g3", "g5"])
    table = changes.table(genes)
    assert list(table["label"].unique()) == ["A"]
    assert table.set_index("gene").loc["g5", "log2_fold_change"] == pytest.approx(expected[5])


def test_a_correlation_that_is_not_defined_is_not_a_number():
    assert np.isnan(correlation(np.ones(5), np.arange(5.0)))
    assert np.isnan(correlation(np.arange(2.0), np.arange(2.0)))
    assert correlation(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)


def test_cells_without_label_or_of_other_batches_are_left_out():
    reference = pd.DataFrame(
        {"batch": ["d:a", "d:a", "d:b", "d:c"], "label": ["A", None, "A", "A"], "keep": [True, True, False, True]},
        index=list("wxyz"),
    )
    query = pd.DataFrame({"batch": ["q:1"], "label": ["B"]}, index=["v"])
    assert list(labelled_cells(reference, query, ("d:a", "q:1")).index) == ["w", "v"]


def test_query_cells_count_if_they_are_assigned_a_label(tmp_path):
    pd.DataFrame({"batch": ["d:a"], "label": ["A"], "keep": [True]}, index=["d:x"]).rename_axis("cell").to_parquet(
        tmp_path / "d"
    )
    cells = pd.DataFrame({"batch": "q:1", "barcode": list("abcd")}, index=[f"q:{name}" for name in "abcd"])
    cells.to_parquet(tmp_path / "q")
    rows = ["d,B,0.9,assigned", "c,B,0.9,novel", "b,B,0.9,low_quality", "a,B,0.9,ambiguous"]
    (tmp_path / "labels.csv").write_text("\n".join(["cell,label,confidence,status", *rows]))
    found = labelled_cells(*read_both([tmp_path / "d"], tmp_path / "q", tmp_path / "labels.csv"), ("d:a", "q:1"))
    assert found["label"].to_dict() == {"d:x": "A", "q:d": "B"}
    assert read_both([tmp_path / "d"], None, None)[1] is None


def test_dense_matrices_are_read_by_anndata(tmp_path):
    values = np.random.default_rng(0).random((700, 3)).astype(np.float32)
    obs, var = (pd.DataFrame(index=[f"{name}{i}" for i in range(n)]) for name, n in (("c", 700), ("g", 3)))
    with anndata_file(tmp_path / "a.h5ad") as file:
        write_frame(file, "obs", obs)
        write_frame(file, "var", var)
        writer = DenseWriter(file, "X", values.shape)
        for start in range(0, 700, 300):
            writer.append(values[start : start + 300])
        writer.finish()
    assert np.array_equal(ad.read_h5ad(tmp_path / "a.h5ad").X, values)
    with h5py.File(tmp_path / "a.h5ad") as file:
        assert (file["X"].chunks, file["X"].compression) == ((256, 3), "gzip")


def test_rows_that_are_missing_are_found(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        writer = DenseWriter(file, "X", (5, 2))
        writer.append(np.zeros((3, 2), dtype=np.float32))
        with pytest.raises(ValueError, match="3 rows were written for 5 cells"):
            writer.finish()


GENES = pd.DataFrame({"symbol": ["A", "B", "C"], "selected": [True, True, False]}, index=["E1", "E2", "E3"])


def test_genes_by_symbol_or_identifier():
    assert chosen_genes(None, GENES, "genes") == ["E1", "E2"]
    assert chosen_genes(["B", "E1"], GENES, "genes") == ["E1", "E2"]
    with pytest.raises(InputError, match=r"genes: C, X not among the 2 genes of the models; C: not selected"):
        chosen_genes(["C", "X"], GENES, "genes")


def test_a_section_that_asks_for_nothing_changes_no_configuration():
    assert "expression" not in complete_config(BASE)
    assert "expression" not in complete_config({**BASE, "expression": {"n_samples": 3, "checks": 0}})


def test_the_model_is_the_delivered_one():
    assert complete_config({**BASE, "expression": {"normalized": True}})["expression"]["model"] == "scanvi"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"counterfactual": [{"from": "d:a", "to": "d:a"}]}, "from and to are both 'd:a'; name two batches"),
        ({"counterfactual": [PAIR, PAIR]}, "stands twice"),
        ({"counterfactual": [{"from": "d:a"}]}, "'to' is a required property"),
        ({"normalized": True, "model": "gone"}, r"'gone' is not in models; name one of type scvi, scanvi, totalvi"),
        ({"normalized": True, "model": "linear"}, r"'linear' is of type linear; name one of type .*there are: scvi"),
        ({"normalised": True}, "did you mean 'normalized'"),
    ],
)
def test_mistakes_in_the_section(section, said):
    with pytest.raises(InputError, match=said):
        complete_config({**BASE, "expression": section})


def test_pairs_have_plain_folders_of_their_own():
    odd = [{"from": "d:a/b", "to": "d:é"}, {"from": "d:a b", "to": "d:è"}, {"from": "d:a", "to": "q:../x"}]
    found = counterfactual_pairs(odd, ["d"], ["q"])
    assert list(found) == ["d_a_b_to_d", "d_a_b_to_d_2", "d_a_to_q_.._x"]
    assert found["d_a_to_q_.._x"]["to_query"] == "q"


@pytest.mark.parametrize(
    ("pair", "said"),
    [
        ({"from": "a", "to": "d:b"}, r"'a' is no batch of a dataset or a query; write NAME:BATCH"),
        ({"from": "d:a", "to": "x:b"}, r"'x:b' is no batch .* in the sheets: d, q, r"),
        ({"from": "q:a", "to": "r:b"}, "no model knows the batches of two queries"),
    ],
)
def test_batches_of_no_dataset_are_refused(pair, said):
    with pytest.raises(InputError, match=said):
        counterfactual_pairs([pair], ["d"], ["q", "r"])


def test_batches_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match=r"to: no cell has the batch 'd:b'; name one of d:a, d:c"):
        require_batches({"x": PAIR}, pd.Series(["d:a", "d:c"]))


def test_what_needs_labels_or_counts_is_refused():
    config = complete_config({**BASE, "expression": {"counterfactual": [PAIR]}})
    require_possible(config, labelled=True, atlas=False)
    with pytest.raises(InputError, match="the reference has no labels; set label_key"):
        require_possible(config, labelled=False, atlas=False)
    with pytest.raises(InputError, match="an atlas bundle lacks the counts"):
        require_possible(config, labelled=True, atlas=True)
    with pytest.raises(InputError, match="model 'scanvi' is left out"):
        require_possible({**config, "models": {"scvi": {}}}, labelled=False, atlas=False)


def test_short_trainings_are_those_of_the_model():
    models = {"a": {"type": "scvi", "model": {"n_latent": 7}, "train": {"max_epochs": 9}}}
    models["b"] = {"type": "scanvi", "init_from": "a"}
    models["c"] = {"type": "totalvi", "train": {"max_epochs": 500}}
    section = {"normalized": True, "check_epochs": 30}
    config = complete_config({**BASE, "models": models, "expression": section})
    assert check_settings(config, "b")["model"]["n_latent"] == 7
    assert check_settings(config, "b")["train"]["max_epochs"] == 9
    assert check_settings(config, "c")["train"]["max_epochs"] == 30
    assert check_settings(config, "c")["train"]["lr"] == 1e-3


def test_the_page_says_that_it_is_a_probe(tmp_path):
    support = pd.DataFrame(
        {"label": ["<b>T", "B"], "cells": 3, "cells_in_target": [30, 0], "mixing": [0.9, np.nan], "r_halves": 0.5}
    ).assign(r_thinned=0.5, supported=[True, False], reason=["", "0 cells"])
    changes = pd.DataFrame({"label": ["<b>T"] * 2, "symbol": ["UP1", "DOWN1"], "log2_fold_change": [2.0, -1.0]})
    support.to_csv(tmp_path / "support.csv", index=False)
    changes.to_csv(tmp_path / "changes.csv", index=False)
    files = {"p": {name: str(tmp_path / f"{name}.csv") for name in ("support", "changes")}}
    page = render("expression.html.j2", expression_context(files, {"model": "m"}, {"p": PAIR}, ["counterfactual/p"]))
    assert page.count(PROBE) == 2
    assert "&lt;b&gt;T" in page
    assert "<b>T" not in page
    assert "UP1" in page


def test_the_page_says_why_a_label_was_not_hidden(tmp_path):
    pd.DataFrame({"label": ["T"], "cells": 60, "cells_in_target": 60, "mixing": 1.0}).assign(
        r_halves=0.5, r_thinned=0.5, supported=True, reason=""
    ).to_csv(tmp_path / "support.csv", index=False)
    pd.DataFrame(columns=["label", "symbol", "log2_fold_change"]).to_csv(tmp_path / "changes.csv", index=False)
    errors = pd.DataFrame({"label": ["T"], "cells": 60, "hidden_cells": 60, "reason": "alone in its batch"})
    scores = ["r_hidden", "r_seen", "r_other_labels", "mae_hidden", "mae_seen"]
    errors.assign(**dict.fromkeys(scores, np.nan)).to_csv(tmp_path / "errors.csv", index=False)
    files = {"p": {name: str(tmp_path / f"{name}.csv") for name in ("support", "changes", "errors")}}
    context = expression_context(files, {"model": "m"}, {"p": PAIR}, [])
    assert "alone in its batch" in render("expression.html.j2", context)
    # Runs before this column have none.
    errors.drop(columns="reason").assign(**dict.fromkeys(scores, 0.5)).to_csv(tmp_path / "errors.csv", index=False)
    assert "MAE hidden" in render("expression.html.j2", expression_context(files, {"model": "m"}, {"p": PAIR}, []))
