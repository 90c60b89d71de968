"""The measured facts of an atlas and its model card."""

import numpy as np
import pandas as pd
import pytest

from refatlas.bundle.facts import (
    cells_facts,
    criticism_facts,
    held_out_facts,
    hidden_facts,
    integration_facts,
    weak_labels,
)
from refatlas.bundle.growth import joining_cells
from refatlas.bundle.model_card import NOT_MEASURED, model_card
from refatlas.errors import InputError
from refatlas.evaluate.transfer_scores import COLUMNS
from refatlas.transfer.hierarchy import hierarchy


@pytest.fixture
def cells():
    return pd.DataFrame(
        {
            "dataset": ["a"] * 30 + ["b"] * 10,
            "batch": ["a:1"] * 20 + ["a:2"] * 10 + ["b:1"] * 10,
            "label": ["T"] * 25 + ["B"] * 5 + [None] * 10,
            "keep": [True] * 39 + [False],
        }
    )


@pytest.fixture
def tables(tmp_path):
    """scores.csv and label_scores.csv of two folds of one batch each."""
    paths = {"scores": [], "label_scores": []}
    for fold, accuracy in (("fold_1", 0.9), ("fold_2", 0.7)):
        key = {"split": fold, "query": "heldout", "model": "delivered", "source": "all sources", "level": 1}
        rows = [
            {**dict.fromkeys(COLUMNS["scores"], np.nan), **key, "batch": batch, "accuracy": accuracy, "macro_f1": 0.5}
            for batch in ("all", f"a:{fold}")
        ]
        rows[0]["auroc_unseen"] = 0.95 if fold == "fold_2" else np.nan
        labels = [
            {**dict.fromkeys(COLUMNS["label_scores"], np.nan), **key, "label": "T", "f1": accuracy, "n_cells": 10}
        ]
        for kind, table in (("scores", rows), ("label_scores", labels)):
            path = tmp_path / f"{fold}_{kind}.csv"
            pd.DataFrame(table)[list(COLUMNS[kind])].to_csv(path, index=False)
            paths[kind].append(str(path))
    return paths


def test_numbers_of_cells(cells):
    found = cells_facts(cells)
    assert found["cells"] == 39
    assert found["cells_by_dataset"] == {"a": 30, "b": 9}
    assert found["cells_by_label"] == {"T": 25, "B": 5}


def test_figures_of_held_out_cells_are_means_over_batches(tables):
    found = held_out_facts(tables["scores"], tables["label_scores"])
    assert found["delivered"]["accuracy"] == 0.8
    assert found["delivered"]["n_batches"] == 2
    assert found["delivered"]["ece"] is None
    assert found["f1_by_label"] == {"T": 0.8}
    assert hidden_facts(tables["scores"]) == {"fold_2": 0.95}


def test_labels_that_are_rare_weak_or_not_measured_are_named():
    facts = {
        "cells_by_label": {"T": 100, "B": 5, "NK": 50, "mast": 30},
        "f1_by_label": {"T": 0.95, "B": 0.9, "NK": 0.5},
    }
    assert weak_labels(facts) == {
        "B": "5 cells",
        "NK": "F1 0.50 in held-out batches",
        "mast": "in no held-out batch, so not measured",
    }


def manifest(facts, **keys):
    return {
        "format": 1,
        "refatlas": "0.7.0",
        "name": "pbmc",
        "version": "2",
        **dict.fromkeys(("title", "license", "citation", "intended_use", "not_for")),
        "description": "",
        "authors": [],
        "facts": facts,
        "models": {"scvi": "scvi"},
        "genes": 2000,
        "labels": {"levels": 1},
        "counts": "sample",
        **keys,
    }


def test_a_card_has_what_was_measured_and_says_what_was_not(cells, tables, tmp_path):
    (tmp_path / "integration.csv").write_text("model,metric,value\nscvi,ilisi,0.5\nscvi,kbet,\n")
    facts = cells_facts(cells) | held_out_facts(tables["scores"], tables["label_scores"])
    facts |= {"integration": integration_facts(str(tmp_path / "integration.csv")), "hidden": {}, "weak_labels": {}}
    card = model_card(manifest(facts))
    assert "| accuracy | 0.800 (0.000 to 1.000) |" in card
    assert "| expected calibration error | not measured |" in card
    assert "| kbet | not measured |" in card
    assert "No label was hidden from the models" in card
    assert "none given: ask the authors" in card


def test_a_card_has_the_checks_of_training_cells_and_their_range_in_held_out_batches(cells, tmp_path):
    key = {"model": "scvi", "features": "rna"}
    measures = {"cv_gene_correlation": 0.7, "coverage_80": 0.81, "reconstruction": 300.0, "kl": 12.0}
    rows = [{"split": "reference", "cells": "training", "batch": "all", **measures}]
    rows += [
        {"split": f"fold_{i}", "cells": "held-out", "batch": batch, **measures, "reconstruction": 300.0 + 10 * i}
        for i in (1, 2)
        for batch in ("all", f"a:{i}")
    ]
    table = pd.DataFrame([key | row for row in rows])
    table.assign(zero_fraction_error=0.02, fold_change_correlation=np.nan).to_csv(tmp_path / "c.csv", index=False)
    facts = cells_facts(cells) | criticism_facts(tmp_path / "c.csv") | {"integration": {}, "hidden": {}}
    card = model_card(manifest(facts))
    assert "## Posterior predictive checks of scvi" in card
    assert "| reconstruction loss of a cell, in nats | 300.000 | 310.000 to 320.000 (2 batches) |" in card
    assert (
        "| fold changes between labels: correlation of observed and replicated | not measured | not measured |" in card
    )


def test_a_card_without_folds_claims_nothing(cells):
    facts = cells_facts(cells) | {"integration": {}, "hidden": {}, "weak_labels": {}}
    card = model_card(manifest(facts))
    assert NOT_MEASURED in card
    assert "accuracy" not in card


def test_only_cells_with_a_label_of_the_atlas_vote(tmp_path):
    table = pd.DataFrame(
        {"label": ["T", "new", "B", None], "label_2": ["x"] * 4, "keep": [True, True, False, True]},
        index=pd.Index([f"q:{i}" for i in range(4)], name="cell"),
    )
    table.to_parquet(tmp_path / "cells.parquet")
    parents = hierarchy(pd.DataFrame({"label": ["T", "B"], "label_2": ["T and NK", "B lineage"]}))
    found = joining_cells(str(tmp_path / "cells.parquet"), "q", parents)
    assert list(found["label"].notna()) == [True, False, False, False]
    # The atlas' own, whatever the query's coarser labels are.
    assert found["label_2"].iloc[0] == "T and NK"
    assert found["label_2"].iloc[1:].isna().all()
    with pytest.raises(InputError, match=r"grow: q: none of its labels \(T, new, B\) is one of the atlas \(other\)"):
        joining_cells(str(tmp_path / "cells.parquet"), "q", hierarchy(pd.DataFrame({"label": ["other"]})))
