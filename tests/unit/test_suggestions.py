"""Names are suggested for clusters from marker genes and from labels, with how sure they are."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from refatlas.annotate.cell_labels import read_cell_labels, suggest_from_datasets, suggest_from_labels
from refatlas.annotate.marker_scores import gene_evidence, lead_by_own_genes, least_lead, score_sets
from refatlas.annotate.marker_sets import match_marker_sets, read_marker_sets
from refatlas.annotate.marker_suggestions import suggest_from_markers
from refatlas.annotate.suggestion_rows import suggestion_table
from refatlas.annotate.suggestions import overall, propose_from_markers, suggest_names
from refatlas.errors import InputError
from refatlas.prepare.genes import with_reference_names


def marker_rows(means: dict[str, list[float]], score: float = 10.0, grouping: str = "1") -> pd.DataFrame:
    """Return a table of markers from each gene's mean in groups of equal size; groups above the mean have the score."""
    rows = []
    for gene, values in means.items():
        for group, mean in enumerate(values):
            out = (sum(values) - mean) / (len(values) - 1) if len(values) > 1 else np.nan
            z = score if mean > out else -score
            row = {"grouping": grouping, "group": str(group), "gene": gene, "symbol": gene, "mean_in": mean}
            rows.append({**row, "mean_out": out, "score": z, "batch_score": np.nan})
    return pd.DataFrame(rows).astype(dict.fromkeys(("grouping", "group", "gene", "symbol"), "category"))


def gene_sets(**labels: str) -> pd.DataFrame:
    """Return sets of genes as matched to a reference; "-" before a gene is for absent, "?" for one not measured."""
    rows = [
        {
            "label": label,
            "gene": gene.strip("-?"),
            "absent": gene[0] == "-",
            "key": None if gene[0] == "?" else gene.strip("-"),
        }
        for label, genes in labels.items()
        for gene in genes.split()
    ]
    return pd.DataFrame(rows).assign(tissue="")


def test_evidence_is_the_share_of_the_highest_expression_above_the_lowest():
    markers = marker_rows({"A": [2.0, 1.0, 0.0], "B": [3.0, 3.0, 3.0]})
    found = gene_evidence(markers)
    assert found.groups == ["0", "1", "2"]
    # Group 1 of A is not above the others: 1 in it, and 1 in them.
    assert found.evidence[0] == pytest.approx([2 / 2.1, 0, 0])
    assert found.evidence[1] == pytest.approx([0, 0, 0])


def test_a_gene_that_is_hardly_above_other_cells_counts_in_part():
    markers = marker_rows({"A": [2.0, 0.0]}, score=1.0)
    assert gene_evidence(markers).evidence[0] == pytest.approx([0.5 * 2 / 2.1, 0])
    # The test within batches decides, where there is one.
    assert gene_evidence(markers.assign(batch_score=-1.0)).evidence[0, 0] == 0


def test_a_type_in_two_clusters_keeps_its_genes():
    evidence = gene_evidence(marker_rows({"A": [2.0, 2.0, 0.0, 0.0]})).evidence[0]
    assert evidence == pytest.approx([2 / 2.1, 2 / 2.1, 0, 0])


def test_one_group_is_compared_with_all_other_cells():
    markers = marker_rows({"A": [2.0, 0.5]})
    assert gene_evidence(markers[markers["group"] == "0"]).evidence[0] == pytest.approx([1.5 / 2.1])


def test_score_is_the_mean_of_evidence_with_three_unknown_genes():
    grouped = gene_evidence(marker_rows({"A": [1.9, 0.0], "B": [1.9, 0.0], "C": [0.0, 1.9]}))
    found = score_sets(gene_sets(x="A B", y="B C -A", z="A D ?E"), grouped)
    # A and B are each in two sets (1 / √2); y has A as absent, half; D was measured, and no cell has it.
    e, w = 0.95, 2**-0.5
    assert found.score[0] == pytest.approx([2 * w * e / (2 * w + 3), 0])
    assert found.score[1] == pytest.approx([(w * e - 0.5 * e) / (w + 1 + 3), e / (w + 1 + 3)])
    assert found.score[2] == pytest.approx([w * e / (w + 1 + 3), 0])


def test_leads_without_a_gene_and_by_own_genes():
    grouped = gene_evidence(marker_rows({"A": [1.9, 0.0], "B": [1.9, 0.0], "C": [0.0, 1.9]}))
    found = score_sets(gene_sets(x="A B", y="A C"), grouped)
    e, w = 0.95, 2**-0.5
    assert least_lead(found, 0, 1, 0) == pytest.approx(w * e / (w + 3) - w * e / (w + 1 + 3))
    # Without A, which both have: B against C.
    assert lead_by_own_genes(found, 0, 1, 0) == pytest.approx(e / 4)
    assert lead_by_own_genes(found, 0, 1, 1) == pytest.approx(-e / 4)


def unrelated(n: int, n_groups: int) -> dict[str, list[float]]:
    """Return genes that are alike in all groups."""
    return {f"N{i}": [1.9] * n_groups for i in range(n)}


def test_the_best_type_is_sure_with_many_genes_of_its_own():
    means = {f"B{i}": [1.9, 0.0, 0.0] for i in range(5)} | {f"T{i}": [0.0, 1.9, 1.9] for i in range(5)}
    sets = gene_sets(B="B0 B1 B2 B3 B4 -T0", T="T0 T1 T2 T3 T4 ?T5 N0")
    found = suggest_from_markers(marker_rows(means | unrelated(60, 3)), sets)
    assert list(found["label"]) == ["B", "T", "T"]
    assert list(found["cluster"]) == ["0", "1", "2"]
    assert set(found["evidence"]) == {"markers"}
    assert set(found["sure"]) == {"high"}
    first, second, _ = found.to_dict("records")
    assert first["support"] == "5 of 5 genes up: B0, B1, B2, B3, B4"
    assert (first["against"], first["n"], first["rank"]) == ("", 5, 1)
    assert first["score"] == first["margin"] == pytest.approx(5 * 0.95 / 8)
    assert second["support"] == "5 of 6 genes up: T0, T1, T2, T3, T4 (1 further genes not measured)"
    assert (second["against"], second["n"]) == ("not up: N0", 6)


def test_a_type_with_one_gene_is_not_sure():
    means = {"B0": [1.9, 0.0], **unrelated(60, 2)}
    found = suggest_from_markers(marker_rows(means), gene_sets(B="B0 ?B1 ?B2 ?B3"))
    assert list(found["sure"]) == ["low"]


def test_types_of_one_lineage_are_told_apart_by_their_own_genes():
    shared = {f"T{i}": [1.9, 1.9, 0.0] for i in range(5)}
    sets = gene_sets(CD4="T0 T1 T2 T3 T4 IL7R CD4", CD8="T0 T1 T2 T3 T4 CD8A CD8B")
    own = {"IL7R": [1.9, 0.0, 0.0], "CD4": [1.9, 0.0, 0.0], "CD8A": [0.0, 1.9, 0.0], "CD8B": [0.0, 1.9, 0.0]}
    found = suggest_from_markers(marker_rows(shared | own | unrelated(60, 3)), sets)
    assert list(found.loc[found["rank"] == 1, "label"]) == ["CD4", "CD8"]
    assert set(found.loc[found["rank"] == 1, "sure"]) == {"high"}
    # With neither's own genes, they cannot be told apart.
    neither = suggest_from_markers(marker_rows(shared | unrelated(60, 3)), sets)
    assert set(neither.loc[neither["rank"] == 1, "sure"]) == {"low"}


def test_a_type_is_not_sure_if_random_genes_are_as_high():
    means = {f"G{i}": [1.9, 0.0] for i in range(60)}
    found = suggest_from_markers(marker_rows(means), gene_sets(B="G0 G1 G2 G3 G4"))
    assert list(found["sure"]) == ["low"]


def test_an_absent_gene_that_is_expressed_speaks_against():
    means = {"B0": [1.9, 0.0], "T0": [1.9, 0.0], **unrelated(20, 2)}
    row = suggest_from_markers(marker_rows(means), gene_sets(B="B0 -T0")).iloc[0]
    assert row["against"] == "up, but should be absent: T0"
    assert row["score"] == pytest.approx(0.5 * 0.95 / 4)


def test_groupings_are_kept_apart_and_labels_left_out():
    parts = [marker_rows({"B0": [1.9, 0.0]}, grouping=name) for name in ("0.5", "2", "label")]
    markers = pd.concat(parts).astype({"grouping": "category", "group": "category"})
    assert list(suggest_from_markers(markers, gene_sets(B="B0"))["resolution"]) == ["0.5", "2"]


def test_nothing_is_suggested_without_genes_or_differences():
    assert suggest_from_markers(marker_rows({"B0": [1.9, 0.0]}), gene_sets(B="?B0")).empty
    assert suggest_from_markers(marker_rows({"B0": [1.9, 1.9]}), gene_sets(B="B0")).empty
    assert suggest_from_markers(marker_rows({"B0": [1.9]}), gene_sets(B="B0")).empty


def test_genes_that_a_group_did_not_measure_do_not_count():
    markers = marker_rows({"A": [1.9, 0.0, 1.9], "B": [1.9, 0.0, 1.9]})
    missing = (markers["gene"] == "B") & (markers["group"] == "2")
    markers.loc[missing, ["mean_in", "score"]] = np.nan
    found = suggest_from_markers(markers, gene_sets(x="A B"))
    assert list(found["n"]) == [2, 1]
    assert list(found["score"]) == pytest.approx([1.9 / 5, 0.95 / 4])


CELLS = pd.Index([f"{dataset}:{i}" for dataset in ("d", "e") for i in range(10)], name="cell")


def clusters(*codes: int) -> pd.DataFrame:
    return pd.DataFrame({"1": np.array(codes, dtype=np.int32)}, index=CELLS)


def test_labels_are_counted_by_wilsons_interval():
    labels = pd.DataFrame({"label": ["B"] * 9 + ["T"] + [None] * 10}, index=CELLS)
    found = suggest_from_labels(clusters(*[0] * 20), labels, "tool")
    assert list(found["label"]) == ["B", "T"]
    first = found.iloc[0]
    # Wilson 1927, with 9 of 10 and z = 1.96.
    assert first["score"] == pytest.approx(0.5958, abs=1e-3)
    assert first["margin"] == pytest.approx(0.5958 - 0.0179, abs=1e-3)
    assert (first["support"], first["against"]) == ("90% of 10 labelled cells (50% of the cluster)", "10% T")
    assert (first["n"], first["sure"], first["evidence"]) == (10, "moderate", "tool")
    assert (found.iloc[1]["sure"], found.iloc[1]["against"]) == ("", "90% B")


def test_few_labelled_cells_are_less_sure():
    codes = [0] * 16 + [1] * 4
    found = suggest_from_labels(clusters(*codes), pd.DataFrame({"label": "B"}, index=CELLS), "tool")
    # Of 16 and of 4 cells: lower ends of 0.81 and 0.51.
    assert list(found["sure"]) == ["high", "moderate"]
    one = suggest_from_labels(clusters(*codes), pd.DataFrame({"label": "B"}, index=CELLS[:1]), "tool")
    assert list(one["sure"]) == ["low"]
    many = pd.DataFrame({"1": np.zeros(400, dtype=np.int32)}, index=[f"d:{i}" for i in range(400)])
    sparse_labels = pd.DataFrame({"label": "B"}, index=many.index[:30])
    assert list(suggest_from_labels(many, sparse_labels, "tool")["sure"]) == ["moderate"]


def test_cells_count_by_their_confidence():
    labels = pd.DataFrame({"label": ["B"] * 2 + ["T"] * 3, "confidence": [1.0, np.nan, 0.1, 0.1, 0.1]}, index=CELLS[:5])
    found = suggest_from_labels(clusters(*[0] * 20), labels, "tool")
    assert list(found["label"]) == ["B", "T"]
    assert found["support"].iloc[0].startswith("87% of 5 labelled cells")


def test_labels_of_datasets_are_counted_by_dataset_and_together():
    cells = pd.DataFrame(
        {"batch": ["d:x"] * 10 + ["e:x"] * 10, "label": ["B"] * 10 + ["T"] * 5 + [None] * 5}, index=CELLS
    )
    found = suggest_from_datasets(clusters(*[0] * 20), cells)
    best = found[found["rank"] == 1].set_index("evidence")
    assert dict(best["label"]) == {"labels of d": "B", "labels of e": "T", "labels of all datasets": "B"}
    assert dict(best["n"]) == {"labels of d": 10, "labels of e": 5, "labels of all datasets": 15}


def test_one_dataset_with_labels_makes_one_kind_of_evidence():
    cells = pd.DataFrame({"batch": ["d:x"] * 10 + ["e:x"] * 10, "label": ["B"] * 10 + [""] * 10}, index=CELLS)
    assert set(suggest_from_datasets(clusters(*[0] * 20), cells)["evidence"]) == {"labels of d"}
    assert suggest_from_datasets(clusters(*[0] * 20), cells.drop(columns="label")).empty
    assert suggest_from_datasets(clusters(*[0] * 20), cells.assign(label=None)).empty


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_labels_of_a_tool_are_read_by_name_or_barcode(tmp_path, suffix):
    cells = pd.Index(["d:AAA", "d:AAC", "e:AAC", "e:AAG"])
    table = pd.DataFrame(
        {"cell": ["d:AAA", "d:AAC", "AAG", "zzz"], "n": 1, "label": ["B ", "NA", "", "T"], "confidence": [1, 0.5, 0, 1]}
    )
    path = tmp_path / f"labels.{suffix}"
    if suffix == "parquet":
        table.set_index("cell").to_parquet(path)
    else:
        table.to_csv(path, sep="," if suffix == "csv" else "\t", index=False)
    labels, note = read_cell_labels(path, cells, "celltypist")
    assert labels["label"].to_dict() == {"d:AAA": "B", "d:AAC": "NA"}
    assert list(labels["confidence"]) == [1, 0.5]
    assert note == "celltypist: 2 of 4 cells have a label; 1 rows name no cell"


def test_words_for_no_label_are_no_labels_of_a_tool(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cell,label\nd:0,B\nd:1,Unassigned\nd:2,NA\nd:3,unassigned \n")
    found = read_cell_labels(path, CELLS, "tool", ["Unassigned", "unassigned", "NA"])
    assert found.table["label"].to_dict() == {"d:0": "B"}
    with pytest.raises(InputError, match="column 'label' has no label for any cell of the reference"):
        read_cell_labels(path, CELLS, "tool", ["B", "Unassigned", "unassigned", "NA"])


def test_labels_are_the_second_column_unless_one_is_named_label(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("cell,predicted\nd:0,B\n")
    assert list(read_cell_labels(path, CELLS, "tool").table["label"]) == ["B"]
    # A table of R has no name for the column of its rows' names.
    path.write_text("predicted\tconfidence\nd:0\tB\t1\n")
    assert list(read_cell_labels(path, CELLS, "tool").table["label"]) == ["B"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "config: suggestions: labels: tool: .*labels.csv: cannot be read"),
        ("cell\nd:0\n", "the only column is cell"),
        (
            "cell,label\nx:0,B\n",
            "none of its 1 cells is in the reference. Its cells are x:0, those .* d:0, d:1, d:2 and",
        ),
        ("cell,label\n0,B\n", r"barcode '0' is in several datasets \(d:0, e:0\); name cells as dataset:barcode"),
        ("cell,label\nd:0,B\nd:0,T\n", "cell 'd:0' occurs twice"),
        ("cell,label\nd:0,\n", "column 'label' has no label for any cell"),
        ("cell,label,confidence\nd:0,B,1\nd:1,B,high\n", "row 2: confidence 'high' is no number from 0 to 1"),
        ("cell,label,confidence\nd:0,B,95\n", "row 1: confidence '95' is no number from 0 to 1"),
    ],
)
def test_a_wrong_table_of_labels_is_refused(tmp_path, text, message):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_cell_labels(path, CELLS, "tool")


def best_rows(**kinds: tuple[str, str]) -> pd.DataFrame:
    """Return the best candidates of cluster 0 by kind of evidence (name and how sure), all of which know B and T."""
    common = {"resolution": "1", "score": 0.5, "support": "5 of 6", "against": "", "n": 6, "margin": 0.1}
    rows = []
    for kind, (label, sure) in kinds.items():
        evidence = kind.replace("_", " ")
        rows.append({**common, "cluster": "0", "evidence": evidence, "label": label, "rank": 1, "sure": sure})
        rows += [
            {**common, "cluster": "1", "evidence": evidence, "label": name, "rank": 2, "sure": ""}
            for name in ("B cell", "T cell")
        ]
    return suggestion_table(rows)


@pytest.mark.parametrize(
    ("kinds", "suggestion", "sure"),
    [
        # Labels of datasets decide, if there are enough of them.
        ({"labels_of_d": ("B", "moderate"), "markers": ("T", "high")}, "B", "moderate"),
        ({"labels_of_d": ("B", "low"), "markers": ("T", "high")}, "T", "high"),
        # Other tools go before markers if both are as sure.
        ({"markers": ("T cells", "high"), "tool": ("T", "high")}, "T", "high"),
        ({"markers": ("T cells", "high"), "tool": ("T", "moderate")}, "T cells", "high"),
        # What contradicts makes less sure, except labels of datasets.
        ({"markers": ("T", "moderate"), "tool": ("B", "high")}, "B", "moderate"),
        ({"markers": ("T", "low"), "tool": ("B", "high")}, "B", "high"),
        # A name that the other does not know, or a wider one, is no contradiction.
        ({"markers": ("T", "moderate"), "tool": ("Lymphoid", "high")}, "Lymphoid", "high"),
        ({"markers": ("T cell", "moderate"), "tool": ("CD4 T cells", "high")}, "CD4 T cells", "high"),
        ({"markers": ("T", "low")}, "T", "low"),
    ],
)
def test_one_name_is_proposed(kinds, suggestion, sure):
    rows = overall(best_rows(**kinds)).to_dict("records")
    assert [(row["resolution"], row["cluster"], row["suggestion"], row["sure"]) for row in rows] == [
        ("1", "0", suggestion, sure)
    ]


def test_the_evidence_is_a_sentence():
    same = overall(best_rows(labels_of_d=("B cells", "high"), markers=("B cell", "moderate")))
    assert list(same["evidence"]) == ["labels of d: 5 of 6; the same: markers (moderate)"]
    other = overall(best_rows(labels_of_d=("B", "high"), tool=("T", "low"), markers=("T", "moderate")))
    assert list(other["evidence"]) == ["labels of d: 5 of 6; tool (low): T; but markers (moderate): T"]


def test_no_suggestions_make_no_proposals():
    assert list(overall(suggestion_table([])).columns) == ["resolution", "cluster", "suggestion", "sure", "evidence"]


def test_all_kinds_of_evidence_are_collected(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("cell,label\n" + "".join(f"{cell},B cell\n" for cell in CELLS[:5]))
    (tmp_path / "markers.csv").write_text("label,gene\nB cell,B0\n")
    markers = marker_rows({"B0": [1.9, 0.0], **unrelated(20, 2)})
    genes = pd.DataFrame({"gene_id": None, "symbol": ["B0"]}, index=["B0"])
    cells = pd.DataFrame({"batch": ["d:x"] * 10 + ["e:x"] * 10, "label": ["b"] * 5 + [None] * 15}, index=CELLS)
    settings = {
        "markers": str(tmp_path / "markers.csv"),
        "tissues": [],
        "labels": {"tool": str(tmp_path / "labels.csv")},
    }
    found = suggest_names(clusters(*[0] * 10, *[1] * 10), cells, markers, genes, settings, [])
    assert list(found["evidence"]) == ["labels of d", "tool", "markers"]
    assert list(overall(found)["suggestion"]) == ["b"]
    assert "markers: 1 of 1 marker genes" in capsys.readouterr().out


def test_groups_of_a_query_get_names_from_markers(tmp_path):
    (tmp_path / "markers.csv").write_text("label,gene\nB cell,B0\n")
    markers = marker_rows({"B0": [1.9, 0.0]}, grouping="group")
    genes = pd.DataFrame({"gene_id": None, "symbol": ["B0"], "name": ["B0"]}, dtype=object)
    proposals = propose_from_markers(markers, {"markers": tmp_path / "markers.csv", "tissues": []}, genes)
    assert dict(proposals["suggestion"]) == {"0": "B cell"}
    assert list(proposals.columns) == ["suggestion", "sure", "evidence"]


@pytest.mark.parametrize(
    ("ids", "symbols"), [(["ENSG00000105369", "ENSG00000156738"], [None, None]), ([None, None], ["CD79A", "MS4A1"])]
)
@pytest.mark.parametrize("gene", ["CD79A", "ENSG00000105369"])
def test_marker_genes_are_found_in_a_query_with_other_names(tmp_path, ids, symbols, gene):
    (tmp_path / "markers.csv").write_text(f"label,gene\nB cell,{gene}\n")
    both = ["ENSG00000105369", "ENSG00000156738"]
    reference = pd.DataFrame({"gene_id": both, "symbol": ["CD79A", "MS4A1"]}, index=both, dtype=object)
    query = pd.DataFrame({"gene_id": ids, "symbol": symbols, "name": ["a", "b"]}, dtype=object)
    genes = with_reference_names(query, reference)
    assert list(genes["gene_id"]) == both
    assert list(genes["symbol"]) == ["CD79A", "MS4A1"]
    markers = marker_rows({"ENSG00000105369": [1.9, 0.0]}, grouping="group")
    proposals = propose_from_markers(markers, {"markers": tmp_path / "markers.csv", "tissues": []}, genes)
    assert dict(proposals["suggestion"]) == {"0": "B cell"}


def test_a_query_without_any_marker_gene_gets_no_names(tmp_path, capsys):
    (tmp_path / "markers.csv").write_text("label,gene\nB cell,B0\n")
    genes = pd.DataFrame({"gene_id": None, "symbol": ["X1"], "name": ["X1"]}, dtype=object)
    settings = {"markers": tmp_path / "markers.csv", "tissues": []}
    proposals = propose_from_markers(marker_rows({"X1": [1.9, 0.0]}, grouping="group"), settings, genes)
    assert proposals.empty
    assert "none of 1 marker genes of 1 labels is in the query" in capsys.readouterr().out
    # Without groups, the table is not even read.
    assert propose_from_markers(marker_rows({"X1": [1.9]})[:0], {"markers": "gone.csv", "tissues": []}, genes).empty


NAMES = {
    "B cells": "B cell",
    "CD14+ Monocytes": "CD14+ monocyte",
    "CD4 T cells": "CD4 T cell",
    "CD8 T cells": "CD8 T cell",
    "Dendritic cells": "conventional dendritic cell",
    "FCGR3A+ Monocytes": "FCGR3A+ monocyte",
    "NK cells": "NK cell",
}


@pytest.mark.parametrize("tissues", [["blood"], []])
def test_seven_of_the_eight_types_of_real_blood_are_named(real, tissues):
    """The file has no gene of megakaryocytes that a table would name; nothing sure may be said of them."""
    from scipy import sparse

    from refatlas.prepare.normalization import log_normalized

    adata = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    x, labels = log_normalized(sparse.csr_matrix(adata.X)), adata.obs["cell_type"].astype(str).to_numpy()
    names = np.unique(labels)
    own = np.array([x[labels == name].mean(axis=0).A1 for name in names])
    other = np.array([x[labels != name].mean(axis=0).A1 for name in names])
    means = dict(zip(adata.var_names, own.T.tolist(), strict=True))
    markers = marker_rows(means).assign(mean_out=other.T.ravel(), score=np.where(own > other, 10.0, -10.0).T.ravel())
    genes = pd.DataFrame({"gene_id": None, "symbol": adata.var_names}, index=adata.var_names)
    found = suggest_from_markers(markers, match_marker_sets(read_marker_sets(None, tissues), genes, None).table)
    best = found[found["rank"] == 1].set_index("cluster")
    suggested = {name: best["label"].get(str(group)) for group, name in enumerate(names)}
    assert {name: suggested[name] for name in NAMES} == NAMES
    assert best["sure"].get(str(list(names).index("Megakaryocytes")), "low") == "low"
