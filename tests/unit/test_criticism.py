"""Measures of posterior predictive checks: by hand, and as scvi.criticism computes them on the same samples."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.evaluate.criticism import (
    COLUMNS,
    LEVELS,
    MEASURES,
    counts_inside,
    coverage_curve,
    criticism_table,
    criticize,
    feature_table,
    fold_changes_kept,
    variation,
)
from refatlas.evaluate.criticism_notes import JUDGED, compared, criticism_notes, with_criticism
from refatlas.report.criticism_page import criticism_context
from refatlas.report.rendering import render

N_CELLS, N_GENES, N_SAMPLES = 240, 30, 4
GENES = [f"g{i}" for i in range(N_GENES)]


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return counts of two labels, and replicates of the same distribution."""
    random = np.random.default_rng(seed)
    mean = random.gamma(2, 1, N_GENES) + 0.2
    means = np.where((np.arange(N_CELLS) % 2 == 0)[:, None], mean, mean[::-1])
    counts = random.poisson(means)
    return counts.astype(np.float32), random.poisson(means[:, :, None], (*means.shape, N_SAMPLES)).astype(np.float32)


def checked(counts: np.ndarray, replicated: np.ndarray, size: int = 70, batches: np.ndarray | None = None):
    """Return the checks of counts that come in blocks."""
    rows = np.array_split(np.arange(len(counts)), -(-len(counts) // size))
    names = np.repeat("b", len(counts)) if batches is None else batches
    blocks = [
        SimpleNamespace(
            rows=part,
            observed={"rna": counts[part]},
            replicated={"rna": replicated[part]},
            reconstruction=part.astype(float),
            kl=np.ones(len(part)),
        )
        for part in rows
    ]
    masks = {"rna": dict.fromkeys(sorted(set(names)), np.ones(counts.shape[1], dtype=bool))}
    return criticize(blocks, names, np.arange(len(counts)) % 2, masks, replicated.shape[2], 0)


def row_of(found, batch: str = "all") -> dict:
    return next(row for row in found.rows() if row["batch"] == batch)


def test_measures_are_those_of_scvi_criticism_on_the_same_samples():
    from scvi.criticism import PosteriorPredictiveCheck
    from sparse import GCXS

    counts, replicated = drawn()
    adata = AnnData(sparse.csr_matrix(counts), var=pd.DataFrame(index=GENES))
    model = SimpleNamespace(adata=adata, posterior_predictive_sample=lambda *a, **k: GCXS.from_numpy(replicated))
    stock = PosteriorPredictiveCheck(adata, {"m": model}, n_samples=N_SAMPLES)
    found = checked(counts, replicated)
    sums, _ = found.whole("rna")
    table = feature_table(sums, GENES)
    stock.coefficient_of_variation("cells")
    of_genes = stock.metrics["cv_gene"]
    assert table["cv_replicated"].to_numpy() == pytest.approx(of_genes["m"].to_numpy(), rel=1e-5)
    assert table["cv_observed"].to_numpy() == pytest.approx(of_genes["Raw"].to_numpy(), rel=1e-5)
    stock.coefficient_of_variation("features")
    of_cells = stock.metrics["cv_cell"]
    observed, ours = np.concatenate(sums.cell_cv, axis=1)
    assert ours == pytest.approx(of_cells["m"].to_numpy(), rel=1e-5)
    assert observed == pytest.approx(of_cells["Raw"].to_numpy(), rel=1e-5)
    row = row_of(found)
    assert row["cv_gene_correlation"] == pytest.approx(of_genes.corr().loc["m", "Raw"], rel=1e-5)
    assert row["cv_cell_error"] == pytest.approx((of_cells["m"] - of_cells["Raw"]).abs().mean(), rel=1e-5)
    stock.zero_fraction()
    # scvi-tools returns the share of counts that are not zero under this name.
    zeros = 1 - stock.metrics["zero_fraction"]
    assert table["zero_fraction_replicated"].to_numpy() == pytest.approx(zeros["m"].to_numpy(), rel=1e-6)
    assert table["zero_fraction_observed"].to_numpy() == pytest.approx(zeros["Raw"].to_numpy(), rel=1e-6)


def test_blocks_and_batches_add_up():
    counts, replicated = drawn()
    whole = row_of(checked(counts, replicated, size=N_CELLS))
    batches = np.repeat(["a", "b"], N_CELLS // 2)
    parts = checked(counts, replicated, size=50, batches=batches)
    random = [name for name in MEASURES if name.startswith(("coverage", "calibration"))]
    for name in set(MEASURES) - set(random):
        assert row_of(parts)[name] == pytest.approx(whole[name], rel=1e-5), name
    assert [row["batch"] for row in parts.rows()] == ["all", "a", "b"]
    assert row_of(parts, "a")["reconstruction"] == pytest.approx(np.arange(N_CELLS // 2).mean())


def test_replicates_of_the_same_distribution_are_calibrated_and_others_are_not():
    counts, replicated = drawn()
    sound = row_of(checked(counts, replicated))
    assert [sound["coverage_50"], sound["coverage_80"], sound["coverage_95"]] == pytest.approx(
        [0.5, 0.8, 0.95], abs=0.02
    )
    wrong = row_of(checked(counts, replicated[np.random.default_rng(1).permutation(N_CELLS)][:, ::-1] * 2))
    assert wrong["calibration_error"] > 5 * sound["calibration_error"]
    assert wrong["fold_change_correlation"] < 0.5 < sound["fold_change_correlation"]
    assert wrong["top_genes_kept"] <= sound["top_genes_kept"]


def test_intervals_hold_what_they_should_also_where_all_counts_are_zero():
    inside = counts_inside(
        np.zeros((5000, 1), np.float32), np.zeros((5000, 1, 3), np.float32), np.random.default_rng(0)
    )
    assert inside.cumsum(axis=1)[0] / 5000 == pytest.approx(LEVELS, abs=0.03)


def test_variation_by_hand_and_of_no_counts():
    assert variation(np.array([[1.0, 3.0], [0.0, 0.0]])) == pytest.approx([0.5, np.nan], nan_ok=True)


def test_features_that_were_not_measured_do_not_count():
    counts, replicated = drawn()
    measured = np.arange(N_GENES) < 20
    sums, _ = checked(counts, np.where(measured[:, None], replicated, 0)).whole("rna")
    assert coverage_curve(sums, measured)[9] == pytest.approx(0.5, abs=0.03)
    assert coverage_curve(sums, np.ones(N_GENES, dtype=bool))[9] < 0.48


def test_no_fold_changes_without_two_labels():
    counts, replicated = drawn()
    sums, measured = checked(counts[:30], replicated[:30]).whole("rna")
    assert fold_changes_kept(sums, measured)["n_labels"] == 0


def test_a_table_has_all_columns():
    table = criticism_table([{"model": "m", **row_of(checked(*drawn()))}])
    assert list(table.columns) == list(COLUMNS)
    assert table["n_cells"].item() == N_CELLS


def table_of(cells: str, split: str, values: dict[str, float], **changes) -> list[dict]:
    """Return rows of criticism.csv: for all cells, and for each batch."""
    base = dict.fromkeys(COLUMNS, np.nan) | {"model": "m", "cells": cells, "split": split, "features": "rna"}
    base |= dict.fromkeys(JUDGED, 1.0) | {"n_cells": 200}
    return [
        base | {"batch": batch, "reconstruction": value} | changes
        for batch, value in ({"all": np.mean(list(values.values()))} | values).items()
    ]


@pytest.fixture
def usual() -> pd.DataFrame:
    """Training cells of the atlas and of a fold, and four held-out batches, 10 to 13 above those of their fold."""
    held = {str(i): 110.0 + i for i in range(4)}
    parts = [
        *table_of("training", "reference", {"a": 150.0, "b": 150.0}),
        *table_of("training", "fold_1", {"a": 100.0}),
        *table_of("held-out", "fold_1", held),
    ]
    return pd.DataFrame(parts)


def test_a_query_is_compared_relative_to_its_own_reference(usual):
    query = pd.DataFrame(table_of("query", "q", {"x": 161.0}))
    row = next(row for row in compared(query, usual) if row["measure"] == "reconstruction")
    assert (row["value"], row["trained"], row["difference"]) == (161.0, 150.0, 11.0)
    assert row["held_out"] == [10.0, 11.0, 12.0, 13.0]
    assert row["excess"] < 0
    (note,) = criticism_notes(query, usual)
    assert not note["unusual"]
    assert "all measures are as in held-out batches" in note["meaning"]


def test_a_query_beyond_held_out_batches_is_unusual(usual):
    query = pd.DataFrame(table_of("query", "q", {"x": 250.0}))
    (note,) = criticism_notes(query, usual)
    assert note["unusual"]
    assert (note["check"], note["value"]) == ("criticism_m", 100.0)
    assert note["usual"][0] is None
    assert 13 < note["usual"][1] < 100
    for text in ("reconstruction loss of a cell is 250 in the query and 150 in training cells", "Beyond: "):
        assert text in note["meaning"].replace("Posterior", "posterior")
    better = pd.DataFrame(table_of("query", "q", {"x": 50.0}))
    assert not criticism_notes(better, usual)[0]["unusual"]


def test_too_few_held_out_batches_or_cells_judge_nothing(usual):
    query = pd.DataFrame(table_of("query", "q", {"x": 250.0}))
    few = usual[(usual["cells"] != "held-out") | usual["batch"].isin(["all", "0", "1"])]
    (note,) = criticism_notes(query, few)
    assert not note["unusual"]
    assert "2 batches were held out, too few" in note["meaning"]
    (note,) = criticism_notes(query[query["batch"] == "all"], usual)
    assert (note["unusual"], note["value"]) == (False, None)


def test_a_note_changes_nothing_else_of_a_verdict(usual, tmp_path):
    verdict = {"verdict": "pass", "reason": "r", "reasons": [{"check": "depth"}], "checks": [], "batches": {}}
    assert with_criticism(verdict, {}, None) == verdict
    usual.to_csv(tmp_path / "usual.csv", index=False)
    pd.DataFrame(table_of("query", "q", {"x": 250.0})).to_csv(tmp_path / "q.csv", index=False)
    found = with_criticism(verdict, {"m": str(tmp_path / "q.csv")}, str(tmp_path / "usual.csv"))
    assert {key for key in found if found[key] != verdict[key]} == {"reasons", "checks"}
    assert [reason["check"] for reason in found["reasons"]] == ["depth", "criticism_m"]


def test_the_page_shows_every_query_and_text_as_text(usual, tmp_path):
    usual.to_csv(tmp_path / "usual.csv", index=False)
    pd.DataFrame(table_of("query", "<i>q</i>", {"x": 250.0})).to_csv(tmp_path / "q.csv", index=False)
    paths = {"<i>q</i>": {"m": str(tmp_path / "q.csv")}}
    page = render("criticism.html.j2", criticism_context(str(tmp_path / "usual.csv"), paths, {}, {}))
    assert page.rstrip().endswith("</html>")
    assert "1 measure beyond the limit" in page
    assert "<i>q" not in page


BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}


@pytest.mark.parametrize(
    ("models", "criticism", "said"),
    [
        ({"m": {"type": "scvi"}}, {"models": ["x"]}, "criticism: models: 'x' is not in models; name one of m"),
        (
            {"m": {"type": "scvi"}},
            {"models": ["linear"]},
            "'linear' is of type linear, from which counts are not drawn",
        ),
        ({"m": {"type": "trvae"}}, {"models": ["m"]}, "of type trvae, .*; name models of the types scvi, scanvi"),
        ({"m": {"type": "trvae"}}, {"models": "all"}, "all takes models of the types scvi, .*, and there is none"),
        ({"m": {"type": "scvi"}}, {"models": ["m"], "n_samples": 1}, "1 is less than the minimum of 2"),
        (
            {"m": {"type": "totalvi", "model": {"gene_likelihood": "zinb"}}},
            {"models": ["m"]},
            "has gene_likelihood zinb, and scvi-tools draws counts from totalVI with nb alone",
        ),
    ],
)
def test_models_that_cannot_be_criticized_are_refused(models, criticism, said):
    with pytest.raises(InputError, match=said):
        complete_config({**BASE, "models": models, "criticism": criticism})


def test_criticism_that_is_off_leaves_no_trace_in_the_configuration():
    assert "criticism" not in complete_config({**BASE, "criticism": {"max_cells": 200}})
    on = complete_config(
        {**BASE, "models": {"a": {"type": "scvi"}, "b": {"type": "trvae"}}, "criticism": {"models": "all"}}
    )
    assert on["criticism"] == {"models": ["a"], "max_cells": 5000, "n_samples": 5}
