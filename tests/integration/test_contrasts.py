"""Contrasts on real cells: planted effects, no effect, interferon, swapped groups, and a small run of the workflow."""

import json
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import REPO, planned, snakemake, write_sheets

sys.path.insert(0, str(REPO / "measurements"))
from contrasts import (
    MONOCYTES,
    N_PLANTED,
    PLANTED,
    compared,
    donor_abundance,
    halves,
    planted,
    split_samples,
    without_cells,
)

NULL = "B cells"
HALVES = {"condition": "half", "groups": ["even", "odd"]}


@pytest.fixture(scope="module")
def donors(real):
    """Eight donors, in whose monocytes genes differ between two halves of the donors; the true sign of each gene."""
    return planted(ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad")))


@pytest.fixture(scope="module")
def found(donors, tmp_path_factory):
    return compared(donors[0], tmp_path_factory.mktemp("planted"), **HALVES, labels=[PLANTED, NULL])


def of_label(table: pd.DataFrame, label: str) -> pd.DataFrame:
    return table[table["label"] == label].set_index("symbol" if "symbol" in table else "gene_set")


def test_planted_genes_are_found_with_few_false_ones(found, donors):
    genes = of_label(found.genes, PLANTED)
    true, differ = donors[1][genes.index], genes["fdr"] < 0.05
    right = differ & (np.sign(genes["log2_fold_change"]) == true)
    assert right.sum() >= 0.85 * N_PLANTED
    assert (differ & ~right).sum() <= 0.1 * differ.sum()
    planted_genes = true[true != 0].index
    changes = genes.loc[planted_genes, "log2_fold_change"] * true[planted_genes]
    assert changes.median() == pytest.approx(1, abs=0.15)


def test_a_label_without_an_effect_has_next_to_no_genes_and_no_gene_set(found):
    genes = of_label(found.genes, NULL)
    assert len(genes) > 1000
    assert (genes["fdr"] < 0.05).sum() <= 2
    # P-values are about uniform: neither too many small ones nor too few.
    assert 0.01 < (genes["p_value"] < 0.05).mean() < 0.1
    sets = of_label(found.enrichment, NULL)
    assert len(sets) > 200
    assert (sets["fdr"] < 0.05).sum() == 0


def test_swapped_groups_flip_the_signs_exactly(found, donors, tmp_path):
    swapped = compared(donors[0], tmp_path, n_threads=2, condition="half", groups=["odd", "even"], labels=[NULL])
    one, other = of_label(found.genes, NULL), of_label(swapped.genes, NULL)
    assert one.index.equals(other.index)
    for column in ("log2_fold_change", "statistic"):
        assert np.array_equal(one[column], -other[column], equal_nan=True)
    for column in ("base_mean", "standard_error", "p_value", "fdr"):
        assert np.array_equal(one[column], other[column], equal_nan=True)
    one, other = (of_label(table.enrichment, NULL) for table in (found, swapped))
    assert other.loc[one.index, "score"].to_numpy() == pytest.approx(-one["score"].to_numpy(), rel=1e-9)


def test_interferon_programs_come_first_in_stimulated_monocytes(real, tmp_path):
    """The file has no donors: its parts at random tell what changes most, not how significantly."""
    counts = split_samples(ad.read_h5ad(real("kang_ctrl_stim_1975c_6998g.h5ad")))
    groups = {"condition": "condition", "groups": ["stimulated", "control"], "sample": "part"}
    found = compared(counts, tmp_path, **groups, labels=[MONOCYTES], allow_confounded=True)
    first = found.enrichment.iloc[:2]
    assert set(first["gene_set"]) == {
        "REACTOME_INTERFERON_ALPHA_BETA_SIGNALING",
        "REACTOME_INTERFERON_SIGNALING",
    }
    assert (first["score"] > 5).all()
    assert {"ISG15", "IFIT1", "IFIT3"} <= set(found.genes.sort_values("p_value")["symbol"][:20])


def test_abundance_finds_a_thinned_label_and_nothing_without_an_effect(real, tmp_path):
    counts = halves(ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad")))
    found = donor_abundance(counts, tmp_path).labels
    assert len(found) == 8
    assert not (found[["share_fdr", "relative_fdr"]] < 0.05).any(axis=None)
    for label in (NULL, PLANTED):
        found = donor_abundance(without_cells(counts, label), tmp_path).labels.set_index("label")
        assert found.index[found["relative_fdr"] < 0.05].tolist() == [label]
        # 70 % of the cells are gone in the control group.
        assert found.loc[label, "relative_log2_ratio"] == pytest.approx(-np.log2(0.3), abs=0.5)


@pytest.fixture(scope="module")
def run(real, tmp_path_factory):
    """A finished contrast of a reference, which needs no model; the labels of a query would."""
    folder = tmp_path_factory.mktemp("contrasts")
    counts = halves(ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad")))
    counts = counts[counts.obs["cell_type"].isin([NULL, "Megakaryocytes"]).to_numpy()].copy()
    counts.write_h5ad(folder / "r.h5ad")
    contrast = {**HALVES, "min_cells": 20, "cells": "reference"}
    write_sheets(folder, [{"dataset": "r", "path": "r.h5ad"}], [], differential={"contrasts": {"halves": contrast}})
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("queries: queries.tsv\n", ""))
    snakemake(folder, "--cores", "2", "--", "results/report/contrasts/halves.html")
    return folder


def test_a_run_compares_within_labels_and_names_what_is_left_out(run):
    home = run / "results/differential/halves"
    summary = json.loads((home / "summary.json").read_text())
    by_label = {row["label"]: row for row in summary["labels"]}
    assert (by_label[NULL]["test_samples"], by_label[NULL]["control_samples"]) == (4, 4)
    assert by_label["Megakaryocytes"]["left_out"].endswith("samples have 20 cells; need 2 of each group")
    samples = pd.read_csv(home / "samples.csv")
    cells = pd.read_parquet(run / "results/reference/datasets/r/cells.parquet")
    assert samples.loc[samples["label"] == NULL, "n_cells"].sum() == (cells["keep"] & (cells["label"] == NULL)).sum()
    assert len(pd.read_csv(home / "genes.csv")) == by_label[NULL]["tested_genes"] > 1000
    assert (home / "volcano.png").stat().st_size > 10_000


def test_a_run_counts_the_cells_of_all_samples(run):
    home = run / "results/differential/halves"
    samples = pd.read_csv(home / "abundance_samples.csv")
    cells = pd.read_parquet(run / "results/reference/datasets/r/cells.parquet")
    assert samples["n_cells"].sum() == cells["keep"].sum()
    assert samples.groupby("batch")["share"].sum().to_numpy() == pytest.approx(1)
    labels = pd.read_csv(home / "abundance.csv")
    assert labels["label"].tolist() == [NULL, "Megakaryocytes"]
    assert (labels["relative_p_value"] > 0.05).all()
    assert (home / "abundance.png").stat().st_size > 10_000


def test_the_page_says_what_was_compared(run):
    from report_browser import check_page, chromium

    page = run / "results/report/contrasts/halves.html"
    text = page.read_text()
    assert "even against odd" in text
    assert "samples have 20 cells" in text
    assert 'id="abundance"' in text
    with chromium() as browser:
        check_page(browser, page)


def test_a_finished_contrast_plans_nothing(run):
    assert planned(snakemake(run, "--dry-run", "results/report/contrasts/halves.html")) == {}
