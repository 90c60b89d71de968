"""Labels by a latent space in which only cells with a pair have a place, and their scores beside other models."""

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.evaluate.paired_scores import ALL, score_pairs
from refatlas.receptors.encoding import AMINO_ACID_CODES, encoded_pairs, usable_pairs
from refatlas.receptors.sequences import receptor_table
from refatlas.transfer.label_table import label_table
from refatlas.transfer.partial_labels import label_placed_cells

REFERENCE = pd.DataFrame({"latent_1": [0.0, 0.1, 5.0, 5.1], "latent_2": 0.0}, index=list("abcd"))
LABELS = pd.Series(["B", "B", "T", None], index=list("abcd"))
CELLS = pd.Index(["x", "y", "z"])


def test_cells_without_a_place_have_no_label():
    query = pd.DataFrame({"latent_1": [4.9, 0.0], "latent_2": 0.0}, index=["z", "x"])
    found = label_placed_cells(REFERENCE, LABELS, query, CELLS, k=1)
    assert list(found.table["label"]) == ["B", None, "T"]
    assert found.table["confidence"].isna().tolist() == [False, True, False]
    assert found.table["source"].unique().tolist() == ["external"]
    assert found.table.loc[1, ["p:B", "p:T"]].tolist() == [0, 0]
    assert (found.facts["n_cells"], found.facts["n_votes"], found.facts["n_missing"]) == (3, 2, 1)


def test_a_query_without_any_pair_has_no_labels():
    found = label_placed_cells(REFERENCE, LABELS, REFERENCE.iloc[:0], CELLS, k=3)
    assert found.table["label"].isna().all()
    assert found.facts["n_votes"] == 0
    with pytest.raises(InputError, match="no reference cell with a pair of T-cell receptors has a label"):
        label_placed_cells(REFERENCE, LABELS.map(lambda _: None), REFERENCE, CELLS, k=3)


def write_table(folder, name: str, source: str, labels: list) -> str:
    p = np.array([[label == "B", label == "T"] for label in labels], dtype=float)
    table = label_table(CELLS, source, ["B", "T"], p)
    table.loc[pd.isna(labels), ["label", "confidence"]] = [None, np.nan]
    table.to_parquet(folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def test_all_models_are_scored_on_the_cells_with_a_place(tmp_path):
    pd.DataFrame({"label": ["B", "T", "T"]}, index=CELLS).to_parquet(tmp_path / "cells.parquet")
    rna = write_table(tmp_path, "rna", "logistic", ["B", "B", "T"])
    tcr = write_table(tmp_path, "tcr", "external", ["T", None, "T"])
    found = score_pairs({"f": str(tmp_path / "cells.parquet")}, {"f": {"rna": rna}}, {"f": {"tcr": tcr}})
    rows = found.set_index(["fold", "model"])
    assert rows["n_cells"].unique().tolist() == [3]
    assert rows["n_paired"].unique().tolist() == [2]
    assert rows["accuracy"].to_dict() == {(f, m): v for f in ("f", ALL) for m, v in (("rna", 1.0), ("tcr", 0.5))}
    assert rows.loc[("f", "tcr"), "source"] == "knn"
    # F1 of B 0, of T 2/3.
    assert rows.loc[("f", "tcr"), "macro_f1"] == pytest.approx(1 / 3)


def test_pairs_that_a_model_can_read():
    alpha, beta = ["CAVF", "CAXF", "CAVF", "C" * 9], ["CASF", "CASF", None, "CASF"]
    chains = {"alpha_v": None, "beta_v": None, "n_alpha": 1, "n_beta": 1, "other_chains": False}
    table = receptor_table(pd.DataFrame({"alpha": alpha, "beta": beta, **chains}, index=list("wxyz")))
    assert list(usable_pairs(table, 8).index) == ["w"]
    codes, lengths = encoded_pairs(pd.Series(["CA"]), pd.Series(["F"]), 3)
    letters = AMINO_ACID_CODES
    assert codes.tolist() == [[letters["C"], letters["A"], 0, letters["F"], 0, 0]]
    assert lengths.tolist() == [[2, 1]]
