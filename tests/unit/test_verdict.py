"""Verdicts by hand: where limits come from, which reason stands first, what stops the run."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.errors import InputError
from refatlas.evaluate import mapqc, query_measures, verdict
from refatlas.io.atomic import read_json, write_json
from refatlas.models import mapping
from refatlas.transfer import delivery


class Inputs(SimpleNamespace):
    """Inputs of a job as Snakemake gives them: by attribute, and by `get` where they may be
    missing.
    """

    def get(self, name: str):
        return getattr(self, name, None)


USUAL = {
    "gene_overlap": 1.0,
    "masking_shift": 0.0,
    "depth": 0.1,
    "detected_genes": 0.0,
    "profile": 0.95,
    "doublets": 0.3,
    "deviance_ratio:m": 1.2,
    "deviance_ratio:n": 1.4,
    "novel": 0.01,
    "novel_group": 0.0,
    "confidence": 0.9,
    "mixing:m": 0.8,
    "late_fall": 0.0,
    "low_quality": 0.0,
}
FOLD = {"batches": {"a": USUAL, "b": {**USUAL, "depth": -0.4, "confidence": 0.85, "deviance_ratio:n": 1.6}}}


def assess(scripts, changes: dict, held_out=(FOLD,)) -> dict:
    measures = {"query": {**USUAL, **changes}, "absent_labels": ["NK"]}
    return verdict.assess(measures, list(held_out))


def test_a_usual_query_passes(scripts):
    found = assess(scripts, {})
    assert (found["verdict"], found["reasons"], found["absent_labels"]) == ("pass", [], ["NK"])
    assert found["limits_from"] == "2 held-out batches"


def test_limits_are_a_margin_beyond_the_worst_held_out_batch(scripts):
    checks = {check["check"]: check for check in assess(scripts, {})["checks"]}
    assert checks["confidence"]["warn_beyond"] == [0.8, None]
    assert checks["confidence"]["fail_beyond"] == [0.6, None]
    assert checks["depth"]["warn_beyond"] == [-1.4, 1.1]
    assert checks["deviance_ratio"]["held_out"] == [1.3, 1.4]
    assert checks["deviance_ratio"]["value"] == 1.3


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"gene_overlap": 0.5}, "fail", "gene_overlap"),
        ({"gene_overlap": 0.8}, "warn", "gene_overlap"),
        ({"depth": -3.3, "confidence": 0.5}, "fail", "depth"),
        ({"profile": 0.1, "novel": 0.9, "depth": -1.6}, "fail", "profile"),
        ({"doublets": 0.7}, "fail", "doublets"),
        ({"novel": 0.1}, "warn", "novel"),
        ({"novel_group": 0.01}, "warn", "novel_group"),
    ],
)
def test_the_first_cause_of_the_worst_verdict_is_named(scripts, changes, verdict, reason):
    found = assess(scripts, changes)
    assert (found["verdict"], found["reasons"][0]["check"]) == (verdict, reason)
    assert found["reason"] == found["reasons"][0]["says"]


def test_measures_that_alone_fail_nothing_warn(scripts):
    for change in ({"late_fall": 0.3}, {"mixing:m": 0.0}):
        found = assess(scripts, change)
        assert (found["verdict"], len(found["reasons"])) == ("warn", 1)


def test_novel_cells_side_by_side_are_a_group_and_scattered_ones_are_none(scripts):
    novel_groups, random = query_measures.novel_groups, np.random.default_rng(0)
    places = np.vstack([random.normal(0, 1, (970, 5)), random.normal(30, 1, (30, 5))])
    here = np.arange(1000) >= 970
    assert novel_groups(here, places) == pytest.approx(0.03)
    assert novel_groups(random.permutation(here), places) == 0
    assert novel_groups(here[:20], places[:20]) is None


def test_the_limit_of_mapqc_is_that_of_held_out_controls(scripts, tmp_path):
    paths = {name: tmp_path / f"{name}.json" for name in ("measures", "fold", "mapqc", "mapqc_fold", "verdict")}
    write_json({"query": USUAL, "absent_labels": []}, paths["measures"])
    write_json(FOLD, paths["fold"])
    write_json({"control_distant": 0.45, "batches": {}}, paths["mapqc"])
    write_json({"control_distant": 0.4, "batches": {"a": 0.4, "b": 0.2}}, paths["mapqc_fold"])
    inputs = Inputs(
        measures=paths["measures"], held_out=[paths["fold"]], mapqc=paths["mapqc"], mapqc_held_out=[paths["mapqc_fold"]]
    )
    scripts("assess_query").main(
        SimpleNamespace(
            input=inputs, output=SimpleNamespace(verdict=paths["verdict"]), wildcards=SimpleNamespace(query="q")
        )
    )
    checks = {check["check"]: check for check in read_json(paths["verdict"])["checks"]}
    assert (checks["mapqc"]["verdict"], checks["mapqc"]["held_out"], checks["mapqc"]["warn_beyond"]) == (
        "pass",
        [0.4, 0.2],
        [None, 0.5],
    )


def test_shares_of_distant_controls_by_hand(scripts):
    cells = pd.DataFrame({"batch": ["a"] * 40 + ["b"] * 10, "control": [True] * 30 + [False] * 10 + [True] * 10})
    scores = pd.DataFrame({"score": [3.0] * 12 + [0.0] * 18 + [3.0] * 5 + [np.nan] * 5 + [0.0] * 10})
    found = mapqc.summary(scores, cells)
    assert found == {
        "n_cells": 50,
        "n_judged": 45,
        "n_control": 40,
        "control_distant": 0.3,
        "n_other": 5,
        "other_distant": 1.0,
        "batches": {"a": 0.4},
    }


def test_late_fall_by_hand(scripts):
    training = SimpleNamespace(monitor="elbo", history=pd.DataFrame({"elbo": [200.0, 100.0, *[98.0] * 9, 99.0]}))
    assert mapping.late_fall(training) == pytest.approx(0.01)
    assert mapping.late_fall(SimpleNamespace(monitor=None, history=pd.DataFrame())) == 0.0


def test_without_folds_limits_are_fixed(scripts):
    found = assess(scripts, {"deviance_ratio:m": 99.0}, held_out=())
    assert found["verdict"] == "pass"
    assert found["limits_from"] == "fixed limits: no batch was held out, or only small ones"
    assert assess(scripts, {"depth": -3.0}, held_out=())["verdict"] == "fail"


@pytest.mark.parametrize(("stop", "stops"), [("never", False), ("fail", True), ("warn", True)])
def test_a_failing_verdict_stops_the_run_only_if_asked(scripts, tmp_path, stop, stops):
    script = delivery
    pd.DataFrame({"barcode": ["x"], "keep": [True]}, index=["q:x"]).to_parquet(tmp_path / "cells.parquet")
    pd.DataFrame(
        {"label": ["A"], "confidence": [0.9], "set": ["A"], "set_label": ["A"], "novelty": [0.5], "novel": [False]},
        index=["q:x"],
    ).to_parquet(tmp_path / "delivered.parquet")
    write_json({"verdict": "fail", "reason": "genes are missing", "reasons": []}, str(tmp_path / "verdict.json"))
    paths = {
        name: str(tmp_path / file)
        for name, file in (("cells", "cells.parquet"), ("delivered", "delivered.parquet"), ("verdict", "verdict.json"))
    }
    job = SimpleNamespace(
        input=SimpleNamespace(labels=[], trees=[], **paths),
        output=SimpleNamespace(labels=str(tmp_path / "labels.csv")),
        params=SimpleNamespace(models=[], tree_models=[], min_confidence=0.5, stop=stop),
        wildcards=SimpleNamespace(query="q"),
    )
    if stops:
        with pytest.raises(InputError, match=r"query 'q': FAIL: genes are missing. Its labels are not written"):
            script.main(job)
        assert not (tmp_path / "labels.csv").exists()
    else:
        script.main(job)
        assert pd.read_csv(tmp_path / "labels.csv")["status"].tolist() == ["mapping_failed"]


def test_profiles_of_shuffled_genes_do_not_correlate(scripts):
    script, counts = query_measures, small_counts(n_cells=200, n_genes=300).X
    assert script.profile_correlation(counts[:100], counts[100:]) > 0.9
    order = np.random.default_rng(0).permutation(counts.shape[1])
    assert abs(script.profile_correlation(counts[:100][:, order], counts[100:])) < 0.3
    assert script.profile_correlation(sparse.csr_matrix(counts[:5].shape), counts) == 0.0


def test_mixing_tells_shared_from_separate(scripts):
    script, random = query_measures, np.random.default_rng(0)
    reference, labels = random.normal(size=(300, 5)), np.repeat(["A", "B", "C"], 100)
    reference += 6 * (labels == "B")[:, None]
    query, given = random.normal(size=(100, 5)), np.repeat("A", 100)
    assert script.mixing(reference, labels, query, given, 0) > 0.8
    assert script.mixing(reference, labels, query + 20, given, 0) < 0.05
    assert script.mixing(reference, labels, query[:9], given[:9], 0) is None
    assert script.batch_mixing(query, np.repeat(["x", "y"], 50)) > 0.8
    assert script.batch_mixing(query, given) is None
