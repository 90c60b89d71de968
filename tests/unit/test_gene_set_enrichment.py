"""Gene sets that stand out, and those that do so only because their genes are correlated."""

import numpy as np
import pandas as pd
import pytest

from refatlas.differential.gene_sets import COLUMNS, enriched_sets, gene_set_table, residual_effects

N = 400
SETS = pd.DataFrame(
    [
        (name, f"G{i}")
        for name, first in (("UP", 0), ("NONE", 100), ("FEW", 398))
        for i in range(first, min(first + 40, N))
    ],
    columns=["source", "target"],
)


@pytest.fixture
def genes():
    statistics = np.random.default_rng(0).normal(size=N)
    statistics[:40] += 2
    return pd.DataFrame({"symbol": [f"g{i}" for i in range(N)], "statistic": statistics, "base_mean": 1.0})


def independent(n: int = 12) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, N))


def test_a_set_of_higher_genes_stands_out(genes):
    found = enriched_sets(genes, SETS, independent())
    assert found["gene_set"].tolist() == ["UP", "NONE"]
    assert list(found) == COLUMNS
    up, none = found.to_dict("records")
    assert up["score"] > 8
    assert up["fdr"] < 0.001 < 0.05 < none["fdr"]
    best = genes.iloc[:40].sort_values("statistic", ascending=False)["symbol"].str.upper()[:10]
    assert up["leading_genes"].split() == best.tolist()


def test_swapped_groups_flip_the_scores(genes):
    one = enriched_sets(genes, SETS, independent()).set_index("gene_set")
    other = enriched_sets(genes.assign(statistic=-genes["statistic"]), SETS, independent()).set_index("gene_set")
    assert other["score"].to_numpy() == pytest.approx(-one["score"].to_numpy(), rel=1e-12)
    assert other["p_value"].to_numpy() == pytest.approx(one["p_value"].to_numpy(), rel=1e-12)


def test_correlation_of_a_sets_genes_takes_its_significance(genes):
    together = independent()
    together[:, :40] = together[:, [0]]
    together /= np.sqrt((together**2).mean(axis=0))
    found = enriched_sets(genes, SETS, together).set_index("gene_set")
    assert found.loc["UP", "variance_inflation"] == pytest.approx(40)
    assert found.loc["UP", "fdr"] > 0.05


def test_of_genes_of_one_symbol_the_one_of_the_highest_mean_counts(genes):
    twin = pd.DataFrame({"symbol": ["G0"], "statistic": [-50.0], "base_mean": [0.5]})
    doubled = pd.concat([genes, twin], ignore_index=True)
    residuals = np.hstack([independent(), np.full((12, 1), 9.0)])
    pd.testing.assert_frame_equal(enriched_sets(doubled, SETS, residuals), enriched_sets(genes, SETS, independent()))


def test_without_any_set_of_enough_genes_there_is_an_empty_table(genes):
    assert enriched_sets(genes.assign(symbol="X"), SETS, independent()).empty


def test_residuals_are_what_the_design_does_not_explain():
    design = np.array([[1, 0], [1, 0], [1, 1], [1, 1.0]])
    counts = np.array([[7, 3], [7, 1], [31, 3], [31, 3]])
    found = residual_effects(counts, np.ones(4), design)
    assert found.shape == (2, 2)
    assert found[:, 0] == pytest.approx([0, 0])
    assert (found[:, 1] ** 2).mean() == pytest.approx(1)


def test_gene_sets_are_read_from_gmt(tmp_path):
    (tmp_path / "s.gmt").write_text("S\tabout\tb\ta\n")
    assert gene_set_table(str(tmp_path / "s.gmt")).to_numpy().tolist() == [["S", "A"], ["S", "B"]]
