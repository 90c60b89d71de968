"""Tables of clonotypes, with answers worked out by hand."""

import pandas as pd
import pytest

from refatlas.receptors.clonotypes import (
    clonotype_cells,
    clonotype_table,
    clonotypes_of,
    group_table,
    morisita_horn,
    overlap_table,
    summary_of,
    with_reference,
)
from refatlas.receptors.sequences import receptor_table
from refatlas.report.clonotype_figure import plot_expansion
from refatlas.report.clonotype_page import clonotype_context, read_sources
from refatlas.report.rendering import render

# Clonotype A_B has three cells in two batches and two labels; C_D two cells of one; E_F one; three cells have none.
ALPHA = ["CA", "CA", "CA", "CC", "CC", "CE", None, "CA", "CA"]
BETA = ["CB", "CB", "CB", "CD", "CD", "CF", "CB", None, "CB"]
CELLS = pd.DataFrame(
    {"batch": list("112222211"), "label": ["T", "T", "NK", "T", "T", "NK", "T", None, "T"]}, index=list("abcdefghi")
)


def receptors(**changed) -> pd.DataFrame:
    chains = pd.DataFrame({"alpha": ALPHA, "beta": BETA}, index=CELLS.index)
    # The last cell has three beta chains.
    chains = chains.assign(alpha_v="TRAV1*01", beta_v="TRBV1", n_alpha=1, n_beta=[1] * 8 + [3], other_chains=False)
    return receptor_table(chains.assign(**changed))


def test_cells_of_the_same_pair_are_one_clonotype():
    found = clonotypes_of(receptors(), v_genes=False)
    assert list(found) == ["CA_CB"] * 3 + ["CC_CD"] * 2 + ["CE_CF", None, None, None]


def test_v_genes_divide_clonotypes_alleles_do_not_and_an_unknown_one_is_none():
    genes = ["TRAV1*01", "TRAV1*02", "TRAV2", *["TRAV1"] * 3, None, None, None]
    found = clonotypes_of(receptors(alpha_v=genes, beta_v=[*["TRBV1"] * 5, None, *["TRBV1"] * 3]), v_genes=True)
    assert list(found[:3]) == ["TRAV1:CA_TRBV1:CB", "TRAV1:CA_TRBV1:CB", "TRAV2:CA_TRBV1:CB"]
    assert found.iloc[5] is None


@pytest.fixture
def cells():
    return clonotype_cells(CELLS, receptors(), v_genes=False)


def test_clonotypes_say_what_they_span(cells):
    table = clonotype_table(cells)
    assert list(table["clonotype"]) == ["CA_CB", "CC_CD", "CE_CF"]
    assert list(table["n_cells"]) == [3, 2, 1]
    assert table.loc[0, ["n_batches", "batches", "n_labels", "labels"]].tolist() == [
        2,
        "1 (2); 2 (1)",
        2,
        "T (2); NK (1)",
    ]
    assert list(cells["clonotype_size"]) == [3, 3, 3, 2, 2, 1, 0, 0, 0]


def test_expansion_is_counted_within_a_group(cells):
    table = group_table(cells, "batch").set_index("batch")
    assert table.loc["1", ["n_cells", "n_paired", "n_multichain", "n_clonotypes", "n_expanded"]].tolist() == [
        4,
        2,
        1,
        1,
        1,
    ]
    assert table.loc["2", ["n_paired", "n_no_alpha", "n_clonotypes", "n_expanded", "largest"]].tolist() == [
        4,
        1,
        3,
        1,
        2,
    ]
    assert table.loc["2", "share_expanded"] == pytest.approx(2 / 4)
    assert group_table(cells, "label").set_index("label")["n_cells"].to_dict() == {"NK": 2, "T": 6}


def test_overlap_and_similarity_by_hand(cells):
    table = overlap_table(cells).set_index("grouping")
    assert table.loc["batch", ["first", "second", "n_shared", "cells_first", "cells_second"]].tolist() == [
        "1",
        "2",
        1,
        2,
        1,
    ]
    # Shares of batch 1: 1, 0, 0; of batch 2: 1/4, 2/4, 1/4.
    assert table.loc["batch", "morisita_horn"] == pytest.approx(2 * 0.25 / (1 + 6 / 16))
    sizes = pd.Series({"x": 3, "y": 1})
    assert morisita_horn(sizes, 2 * sizes) == pytest.approx(1)
    assert morisita_horn(sizes, pd.Series({"z": 1})) == 0


def test_a_query_finds_its_clonotypes_in_the_reference(cells):
    reference = clonotype_table(cells)
    query = clonotype_cells(CELLS.iloc[[0, 5]], receptors(beta=[*BETA[:5], "CX", *BETA[6:]]), v_genes=False)
    table = with_reference(clonotype_table(query), reference).set_index("clonotype")
    assert table["reference_cells"].to_dict() == {"CA_CB": 3, "CE_CX": 0}
    assert table.loc["CA_CB", "reference_labels"] == "T (2); NK (1)"
    assert table.loc["CE_CX", "reference_labels"] == ""
    found = summary_of(query, table)
    assert (found["n_in_reference"], found["cells_in_reference"], found["n_clonotypes"]) == (1, 1, 2)


@pytest.mark.parametrize("labels", [True, False])
def test_the_page_shows_a_query_without_any_pair(cells, tmp_path, labels):
    alone = CELLS if labels else CELLS[["batch"]]
    empty = clonotype_cells(alone, receptors(alpha=None), v_genes=False)
    paths = {}
    reference = clonotype_table(cells)
    for name, own in (("reference", cells), ("<b>q", empty)):
        table = clonotype_table(own) if name == "reference" else with_reference(clonotype_table(own), reference)
        folder = tmp_path / name.strip("<>")
        folder.mkdir()
        tables = {"clonotypes": table, "batches": group_table(own, "batch"), "labels": group_table(own, "label")}
        tables["overlap"] = overlap_table(own)
        paths[name] = {"summary": str(folder / "summary.json")}
        pd.Series(summary_of(own, table)).to_json(folder / "summary.json")
        for kind, part in tables.items():
            part.to_csv(folder / f"{kind}.csv", index=False)
            paths[name][kind] = str(folder / f"{kind}.csv")
    sources = read_sources(paths["reference"], {kind: {"<b>q": path} for kind, path in paths["<b>q"].items()})
    plot_expansion(sources).savefig(tmp_path / "figure.png")
    page = render("clonotypes.html.j2", clonotype_context(sources, str(tmp_path / "figure.png"), False))
    assert "No cell has a pair." in page
    assert "CC</td><td" in page
    assert "&lt;b&gt;q" in page
    assert "<b>q" not in page
