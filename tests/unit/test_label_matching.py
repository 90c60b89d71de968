"""Which labels of different datasets are the same: on cells in known places, and on real cells with known labels."""

from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

import match_labels
from conftest import NamedPaths
from refatlas.annotate.label_matching import agreement_table, common_name, same_groups, suggest_names
from refatlas.annotate.label_positions import (
    DatasetLabels,
    LabelPositions,
    compare_datasets,
    label_mixing,
    own_shares,
    vote,
)
from refatlas.annotate.label_relations import relate_labels
from refatlas.annotate.label_text import TreeOfLabels, has_more_words, label_words, same_words, similar_words
from refatlas.config.label_map import read_label_map
from refatlas.plots import save_figure
from refatlas.prepare.normalization import log_normalized
from refatlas.report.label_matching_figure import plot_label_agreement

K = 15


def placed_cells(layout: dict[str, list], seed: int = 0, shift: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return latent space and labels of datasets: of each, labels with a center (of 3 numbers) and a number of cells.

    Args:
        shift: of each dataset against the one before, in units of the spread of a label, in the third dimension.
    """
    random, latent, labels, names = np.random.default_rng(seed), [], [], []
    for number, (dataset, groups) in enumerate(layout.items()):
        for label, center, n in groups:
            latent.append(random.normal(center, 1, (n, 3)) + [0, 0, number * shift])
            labels += [label] * n
        names += [f"{dataset}:{i}" for i in range(sum(n for *_, n in groups))]
    index = pd.Index(names, name="cell")
    return pd.DataFrame(np.vstack(latent), index=index), pd.DataFrame({"label": labels}, index=index, dtype=object)


def relations(layout: dict[str, list], tree: TreeOfLabels | None = None, **how):
    return relate_labels(LabelPositions.measure(*placed_cells(layout, **how), K, 0), tree)


def told(found) -> dict[tuple[str, str], tuple[str, str]]:
    """Return relation and sure of the pairs that have any."""
    pairs = found.pairs[found.pairs["relation"] != ""]
    return {(p.label_a, p.label_b): (p.relation, p.sure) for p in pairs.itertuples()}


def template_row(found, dataset: str, label: str) -> pd.Series:
    table = suggest_names(found).set_index(["dataset", "label"])
    return table.loc[(dataset, label)]


LEFT, MIDDLE, RIGHT, FAR = (0, 0, 0), (8, 0, 0), (16, 0, 0), (0, 30, 0)


@pytest.mark.parametrize(
    ("a", "b", "same", "similar"),
    [
        ("B cells", "b-cell", True, True),
        ("CD4+ T cells", "T cell (CD4)", True, True),
        ("Tcells", "T", True, True),
        ("β cell", "Beta", True, True),
        ("CD14+ Monocytes", "CD14 monocyte", True, True),
        ("Beta", "islet beta", False, True),
        ("ductal", "duct cell", False, True),
        ("CD4 T cells", "CD8 T cells", False, False),
        ("CD4+", "CD4-", False, False),
        ("alpha", "beta", False, False),
        ("NK", "NKT", False, False),
        ("mast", "macrophage", False, False),
    ],
)
def test_texts_are_compared_without_case_plural_and_the_word_cell(a, b, same, similar):
    assert same_words(a, b) is same_words(b, a) is same
    assert similar_words(a, b) is similar_words(b, a) is similar


def test_more_words_are_a_part():
    assert has_more_words("CD4 T cells", "T cells")
    assert not has_more_words("T cells", "T cell")
    assert not has_more_words("B cells", "T cells")


def test_a_label_of_nothing_but_cell_has_words():
    assert label_words("cells") == {"cells"}
    assert label_words("+") == {"+"}


def test_votes_of_small_labels_count_more():
    # Label 1 has two cells, and both are among the four neighbours: all of its votes, against half of label 0's.
    codes = np.array([0, 0, 0, 0, 1, 1])
    assert vote(np.array([[0, 1, 4, 5], [0, 1, 2, 4]]), codes).tolist() == [1, 0]


def test_shares_within_a_dataset_leave_out_the_cell_itself():
    x = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [0.35]])
    dataset = DatasetLabels("d", ["A", "B"], np.array([3, 3]), np.array([0, 0, 0, 1, 1, 1]), x)
    shares = own_shares(dataset, 1, 1).pivot(index="label", columns="other", values="share")
    # The nearest other cells: of A's all A; of B's two B, and for the one at 0.35 an A.
    assert shares.to_numpy() == pytest.approx(np.array([[1, 0], [1 / 3, 2 / 3]]))


def test_shares_and_what_returns_by_hand():
    # b has nothing like a's Q: both of its cells vote for P, whose nearest cell of a is a P.
    a = DatasetLabels("a", ["P", "Q"], np.array([2, 2]), np.array([0, 0, 1, 1]), np.array([[0.0], [1.0], [5.0], [6.0]]))
    b = DatasetLabels("b", ["P"], np.array([2]), np.array([0, 0]), np.array([[0.1], [0.9]]))
    pairs = compare_datasets(a, b, 1, 0, 1).set_index("label_a")
    assert pairs.loc["P", ["share", "share_back", "returned", "returned_back"]].tolist() == [1, 1, 1, 1]
    assert pairs.loc["Q", ["share", "share_back", "returned"]].tolist() == [1, 0, 0]


def test_mixing_is_one_of_one_population_and_zero_apart():
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 5))
    assert label_mixing(x[:200], x[200:], random) == pytest.approx(1, abs=0.1)
    assert label_mixing(x[:200], x[200:] + 20, random) == 0
    assert np.isnan(label_mixing(x[:4], x[200:], random))


def test_the_same_labels_are_found_whatever_their_names():
    found = relations(
        {
            "a": [("Beta", LEFT, 60), ("Alpha", MIDDLE, 80), ("Acinar", RIGHT, 50)],
            "b": [("islet 1", LEFT, 90), ("islet 2", MIDDLE, 40), ("exocrine", RIGHT, 50)],
        }
    )
    assert told(found) == {
        ("Beta", "islet 1"): ("same", "high"),
        ("Alpha", "islet 2"): ("same", "high"),
        ("Acinar", "exocrine"): ("same", "high"),
    }
    assert template_row(found, "a", "Beta")["suggestion"] == "islet 1"
    assert template_row(found, "b", "islet 2")["suggestion"] == "Alpha"


def test_a_type_that_the_other_dataset_lacks_has_no_counterpart():
    found = relations(
        {
            "a": [("A", LEFT, 60), ("B", MIDDLE, 60), ("only a", (4, 6, 0), 60)],
            "b": [("A", LEFT, 60), ("B", MIDDLE, 60)],
        }
    )
    assert set(told(found)) == {("A", "A"), ("B", "B")}
    row = template_row(found, "a", "only a")
    assert (row["relation"], row["suggestion"], row["sure"]) == ("no counterpart", "only a", "high")


def test_two_types_of_which_each_dataset_has_one_lie_apart():
    common = [("A", LEFT, 60), ("B", RIGHT, 60)]
    found = relations({"a": [*common, ("only a", (0, 25, 0), 60)], "b": [*common, ("only b", (5, 28, 0), 60)]})
    assert told(found)["only a", "only b"] == ("apart", "")
    row = template_row(found, "a", "only a")
    assert (row["relation"], row["suggestion"]) == ("unresolved", "")
    assert "nearest to only b (b), but apart from it" in row["evidence"]
    assert same_groups(found)[-1] == [("b", "only b")]


def test_a_coarse_label_contains_the_finer_ones():
    found = relations(
        {
            "a": [("T", LEFT, 100), ("T", (4, 0, 0), 60), ("B", RIGHT, 60)],
            "b": [("helper", LEFT, 60), ("killer", (4, 0, 0), 60), ("B", RIGHT, 60)],
        }
    )
    assert {pair: relation for pair, (relation, _) in told(found).items()} == {
        ("T", "helper"): "contains",
        ("T", "killer"): "contains",
        ("B", "B"): "same",
    }
    assert template_row(found, "a", "T")["relation"] == "contains helper (b), killer (b)"
    assert template_row(found, "b", "killer")["relation"] == "part of T (a)"
    assert template_row(found, "b", "killer")["suggestion"] == "killer"


def test_by_their_names_small_parts_are_found_too():
    found = relations(
        {
            "a": [("CD4 T cells", LEFT, 60), ("CD8 T cells", (4, 0, 0), 60), ("B", RIGHT, 60)],
            "b": [("T cell", LEFT, 200), ("T cell", (4, 0, 0), 8), ("B", RIGHT, 60)],
        }
    )
    assert told(found)["CD4 T cells", "T cell"][0] == "part of"
    assert told(found)["CD8 T cells", "T cell"][0] == "part of"


def test_a_third_dataset_shows_that_labels_contain_each_other():
    # a has all T cells under one name, b only one of the two types, c both.
    found = relations(
        {
            "a": [("T", LEFT, 60), ("T", MIDDLE, 60), ("B", FAR, 60)],
            "b": [("helper", LEFT, 60), ("B", FAR, 60)],
            "c": [("CD4", LEFT, 60), ("CD8", MIDDLE, 60), ("B", FAR, 60)],
        }
    )
    pairs = told(found)
    assert pairs["T", "helper"][0] == "contains"
    assert pairs["helper", "CD4"][0] == "same"
    assert [("b", "helper"), ("c", "CD4")] in same_groups(found)


def test_equal_names_in_different_places_are_unresolved():
    found = relations(
        {
            "a": [("X", LEFT, 60), ("Y", MIDDLE, 60), ("Z", FAR, 60)],
            "b": [("Y", LEFT, 60), ("W", MIDDLE, 60), ("X", FAR, 60)],
        }
    )
    assert told(found)["X", "Y"][0] == "same"
    # Y of b is X of a: the name does not decide, and it is said.
    assert template_row(found, "b", "Y")["suggestion"] != ""
    found = relations(
        {"a": [("X", LEFT, 60), ("Y", MIDDLE, 60), ("Z", RIGHT, 60)], "b": [("X", RIGHT, 60), ("Y", MIDDLE, 60)]}
    )
    row = template_row(found, "a", "X")
    assert (row["relation"], row["suggestion"]) == ("unresolved", "")
    assert "has the name of X (b), but lies elsewhere" in row["evidence"]


def test_few_cells_and_labels_that_are_not_separated_are_unresolved():
    found = relations(
        {
            "a": [("A", LEFT, 60), ("rare", MIDDLE, 4), ("dispersed", LEFT, 20)],
            "b": [("A", LEFT, 60), ("rare", MIDDLE, 40)],
        }
    )
    assert template_row(found, "a", "rare")["evidence"] == "only 4 labelled cells"
    assert (
        "of its cells lie by other labels of its own dataset, mostly A"
        in template_row(found, "a", "dispersed")["evidence"]
    )


def test_datasets_that_do_not_mix_give_less_sure_suggestions():
    layout = {
        "a": [("A", LEFT, 60), ("B", MIDDLE, 60), ("C", RIGHT, 60)],
        "b": [("A", LEFT, 60), ("other", MIDDLE, 60), ("C", RIGHT, 60)],
    }
    apart = told(relations(layout, shift=12))
    assert apart["A", "A"] == ("same", "high")
    assert apart["B", "other"] == ("same", "low")


def test_the_tree_is_evidence():
    layout = {
        "a": [("A", LEFT, 60), ("B", MIDDLE, 60), ("C", RIGHT, 60)],
        "b": [("A", LEFT, 60), ("other", MIDDLE, 60), ("C", RIGHT, 60)],
    }
    table = pd.DataFrame(
        {"unit": ["a:1", "a:2", "b"], "label": ["B", "B", "other"], "node": ["B = other", "", "B = other"]}
    )
    tree = TreeOfLabels.of(table)
    assert told(relations(layout, tree, shift=12))["B", "other"] == ("same", "high")
    other = TreeOfLabels.of(table.assign(node=["B", "", "other"]), ([-1, 0, 1], ["root", "B", "other"]))
    assert other.relation(("a", "B"), ("b", "other")) == "contains"
    assert other.relation(("b", "other"), ("a", "B")) == "part of"
    assert other.relation(("a", "B"), ("b", "none")) == ""
    assert told(relations(layout, other, shift=12))["B", "other"] == ("same", "low")


def test_the_tree_that_learn_hierarchy_writes_is_read(tmp_path):
    (tmp_path / "tree.csv").write_text("unit,label,n_cells,node\na,NA,5,NA = x\nb,x,6,NA = x\nb,lost,2,\n")
    (tmp_path / "tree.nwk").write_text("('NA = x')root;")
    tree = TreeOfLabels.read(str(tmp_path / "tree.csv"), str(tmp_path / "tree.nwk"))
    assert tree.relation(("a", "NA"), ("b", "x")) == "same"
    assert ("b", "lost") not in tree.nodes
    assert tree.parents == {"NA = x": "root"}
    # Labels and datasets that are numbers, as of codes.
    (tmp_path / "tree.csv").write_text("unit,label,n_cells,node\n01,1,5,1\n2,1,6,1\n2,7,2,\n")
    tree = TreeOfLabels.read(str(tmp_path / "tree.csv"))
    assert tree.relation(("01", "1"), ("2", "1")) == "same"


def test_a_group_never_has_two_labels_of_a_dataset():
    found = relations(
        {
            "a": [("A", LEFT, 60), ("A'", (1, 0, 0), 60), ("C", FAR, 60)],
            "b": [("A", LEFT, 60), ("C", FAR, 60)],
            "c": [("A'", (1, 0, 0), 60), ("C", FAR, 60)],
        }
    )
    groups = same_groups(found)
    assert all(len({dataset for dataset, _ in group}) == len(group) for group in groups)
    assert sorted(label for group in groups for label in group) == sorted(
        zip(found.labels["dataset"], found.labels["label"], strict=True)
    )


def test_the_name_is_the_one_most_used_as_the_largest_dataset_writes_it():
    n_cells = {("a", "B"): 500, ("b", "B cells"): 10, ("c", "B cells"): 20, ("d", "lymph"): 900}
    assert common_name(list(n_cells), n_cells) == "B cells"
    assert common_name([("a", "B"), ("d", "lymph")], n_cells) == "lymph"
    # A name that means something else in another dataset is not proposed.
    assert (
        common_name([("a", "T"), ("b", "CD4 T")], {("a", "T"): 90, ("b", "CD4 T"): 10, ("c", "T cells"): 5}) == "CD4 T"
    )


def test_the_number_of_threads_changes_nothing():
    latent, cells = placed_cells(
        {"a": [("A", LEFT, 300), ("B", (2, 0, 0), 300)], "b": [("A", LEFT, 300), ("B", (2, 0, 0), 300)]}
    )
    one, two = (LabelPositions.measure(latent, cells, K, 0, threads).pairs for threads in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_cells_without_labels_and_spaces_in_labels():
    latent, cells = placed_cells(
        {"a": [("A", LEFT, 40), (" A ", LEFT, 20), ("x", FAR, 30)], "b": [("A", LEFT, 40)], "c": [("y", FAR, 20)]}
    )
    cells.loc[cells["label"].isin(["x", "y"]), "label"] = None
    found = LabelPositions.measure(latent, cells, K, 0)
    assert found.labels.to_numpy().tolist() == [["a", "A", 60], ["b", "A", 40]]


def test_one_labelled_dataset_gives_a_template_without_relations(tmp_path):
    latent, cells = placed_cells({"a": [("A", LEFT, 40), ("B", FAR, 40)]})
    found = relate_labels(LabelPositions.measure(latent, cells, K, 0))
    assert suggest_names(found)["relation"].tolist() == ["no counterpart"] * 2
    agreement = agreement_table(found)
    assert agreement.empty
    save_figure(plot_label_agreement(agreement, same_groups(found), "none"), tmp_path / "figure.png")


@pytest.fixture
def job(tmp_path):
    """A job of match_labels on three datasets with two label levels."""
    latent, cells = placed_cells({name: [("A", LEFT, 40), (f'"{name}"', FAR, 40)] for name in ("a", "b", "c")})
    cells["label_2"], cells["barcode"] = "all", "x"
    latent.columns = [f"latent_{i + 1}" for i in range(3)]
    latent.to_parquet(tmp_path / "latent.parquet")
    files = {}
    for name in ("a", "b", "c"):
        files[f"dataset_cells:{name}"] = str(tmp_path / f"{name}.parquet")
        part = cells[cells.index.str.startswith(name)]
        part.to_parquet(files[f"dataset_cells:{name}"])
    out = {
        name: str(tmp_path / file)
        for name, file in (
            ("agreement", "label_agreement.csv"),
            ("template", "label_map_template.tsv"),
            ("figure", "figure.png"),
        )
    }
    return SimpleNamespace(
        input=NamedPaths(latent=str(tmp_path / "latent.parquet"), **files),
        output=SimpleNamespace(**out),
        params=SimpleNamespace(k=K, seed=0),
        threads=1,
        wildcards=SimpleNamespace(model="scvi"),
    )


def test_the_script_writes_a_template_that_is_read_as_it_stands(job):
    match_labels.main(job)
    rows = read_label_map(job.output.template, ["a", "b", "c"])
    assert {(row.dataset, row.label) for row in rows} == {(d, label) for d in "abc" for label in ("A", f'"{d}"')}
    assert not any(row.names for row in rows)
    template = pd.read_csv(job.output.template, sep="\t", keep_default_na=False)
    assert list(template.columns) == [
        "dataset",
        "label",
        "n_cells",
        "name",
        "name_2",
        "suggestion",
        "sure",
        "relation",
        "evidence",
    ]
    agreement = pd.read_csv(job.output.agreement)
    assert list(agreement.columns[:6]) == ["dataset_a", "label_a", "dataset_b", "label_b", "share", "share_back"]
    both = agreement.merge(
        agreement,
        left_on=["dataset_a", "label_a", "dataset_b", "label_b"],
        right_on=["dataset_b", "label_b", "dataset_a", "label_a"],
    )
    assert len(both) == len(agreement)
    assert both["share_x"].tolist() == both["share_back_y"].tolist()
    assert Path(job.output.figure).stat().st_size > 1000


def pca_space(parts: dict[str, ad.AnnData], center: bool) -> pd.DataFrame:
    """Return 30 principal components of log-normalised counts of the genes that datasets share."""
    genes = sorted(set.intersection(*(set(part.var_names) for part in parts.values())))
    x = [log_normalized(part[:, genes].X.tocsr()).toarray() for part in parts.values()]
    top = np.argsort(-np.mean([values.var(axis=0) for values in x], axis=0))[:1500]
    x = [values[:, top] - (values[:, top].mean(axis=0) if center else 0) for values in x]
    index = [f"{name}:{cell}" for name, part in parts.items() for cell in part.obs_names]
    return pd.DataFrame(PCA(30, random_state=0).fit_transform(np.vstack(x)), index=index)


def real_relations(parts: dict[str, ad.AnnData], names: dict[str, dict[str, str]], center: bool):
    """Return relations of real datasets whose labels have other names each, and the true types of each label."""
    types = {name: part.obs["cell_type"].astype(str) for name, part in parts.items()}
    labels = {name: values.replace(names.get(name, {})) for name, values in types.items()}
    latent = pca_space(parts, center)
    cells = pd.DataFrame({"label": np.concatenate(list(labels.values()))}, index=latent.index)
    members = {
        (name, label): frozenset(types[name][labels[name] == label].unique())
        for name in parts
        for label in labels[name].unique()
    }
    return relate_labels(LabelPositions.measure(latent, cells, K, 0)), members


def check(found, members, missed: int) -> None:
    """Check that labels that are said to be the same, or to contain each other, are, and how many were missed."""
    truth = {frozenset([a, b]) for a in members for b in members if a[0] < b[0] and members[a] == members[b]}
    said = found.pairs[found.pairs["relation"] == "same"]
    same = {frozenset([(p.dataset_a, p.label_a), (p.dataset_b, p.label_b)]) for p in said.itertuples()}
    assert same <= truth
    sizes = {(row.dataset, row.label): row.n_cells for row in found.labels.itertuples()}
    large = {pair for pair in truth if min(sizes[label] for label in pair) >= 5}
    assert len(large - same) <= missed
    for pair in found.pairs[found.pairs["relation"].isin(["contains", "part of"])].itertuples():
        a, b = members[pair.dataset_a, pair.label_a], members[pair.dataset_b, pair.label_b]
        assert a > b if pair.relation == "contains" else a < b
    for group in same_groups(found):
        assert len({members[label] for label in group}) == 1


@pytest.mark.parametrize("center", [False, True])
def test_pancreas_of_three_laboratories_with_different_names(real, center):
    others = ad.read_h5ad(real("pancreas_segerstolpe_lawlor_328c_1403g.h5ad"))
    laboratory = others.obs["study"].astype(str).str.split("2").str[0]
    parts = {
        "baron": ad.read_h5ad(real("baron_human_1021c_20125g.h5ad")),
        "segerstolpe": others[laboratory == "Segerstolpe"],
        "lawlor": others[laboratory == "Lawlor"],
    }
    names = {
        "baron": {"beta": "Beta", "alpha": "Alpha"},
        "segerstolpe": {"beta": "beta cell", "ductal": "duct cell"},
        "lawlor": {"beta": "islet beta", "ductal": "Ductal cells"},
    }
    found, members = real_relations(parts, names, center)
    check(found, members, missed=0)
    template = suggest_names(found).set_index(["dataset", "label"])
    assert template.loc[("lawlor", "islet beta"), "suggestion"] == "Beta"
    assert template.loc[("segerstolpe", "duct cell"), "suggestion"] == template.loc[("baron", "ductal"), "suggestion"]
    assert template.loc[("baron", "Alpha"), "relation"] == "no counterpart"


@pytest.mark.parametrize("center", [False, True])
def test_donors_as_three_datasets_one_of_them_with_coarser_labels(real, center):
    cells = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))[::2]
    donors = {"one": ["101", "1015"], "two": ["1016", "1244", "1256"], "three": ["1488", "1039", "107"]}
    parts = {name: cells[cells.obs["batch"].astype(str).isin(some)] for name, some in donors.items()}
    names = {
        "one": {
            "CD4 T cells": "CD4 T",
            "CD8 T cells": "CD8 T",
            "NK cells": "Natural killer",
            "CD14+ Monocytes": "CD14 Mono",
            "FCGR3A+ Monocytes": "CD16 Mono",
            "B cells": "B",
            "Dendritic cells": "DC",
            "Megakaryocytes": "Platelets",
        },
        "three": {
            "CD4 T cells": "T cells",
            "CD8 T cells": "T cells",
            "CD14+ Monocytes": "monocytes",
            "FCGR3A+ Monocytes": "monocytes",
            "NK cells": "NK",
        },
    }
    found, members = real_relations(parts, names, center)
    # Principal components do not separate the few megakaryocytes from other cells, which is said.
    check(found, members, missed=3)
    pairs = found.both_ways()
    contains = pairs[(pairs["dataset_a"] == "three") & (pairs["relation"] == "contains")]
    assert set(zip(contains["label_a"], contains["label_b"], strict=True)) == {
        ("T cells", "CD4 T"),
        ("T cells", "CD8 T"),
        ("T cells", "CD4 T cells"),
        ("T cells", "CD8 T cells"),
        ("monocytes", "CD14 Mono"),
        ("monocytes", "CD16 Mono"),
        ("monocytes", "CD14+ Monocytes"),
        ("monocytes", "FCGR3A+ Monocytes"),
    }
    template = suggest_names(found).set_index(["dataset", "label"])
    assert template.loc[("one", "Platelets"), "relation"] == "unresolved"


def test_blood_of_two_technologies(real):
    control, citeseq = (
        ad.read_h5ad(real(name)) for name in ("kang_ctrl_stim_1975c_6998g.h5ad", "citeseq_1400c_3batches_14p.h5ad")
    )
    parts = {
        "kang": control[control.obs["batch"] == "control"],
        "citeseq": citeseq[citeseq.obs["cell_type"] != "unassigned"].copy(),
    }
    own = {"B": "B", "CD14 Mono": "CD14+Mono", "CD16 Mono": "FCGR3A+Mono", "CD4 T": "CD4T", "CD8 T": "CD8T", "NK": "NK"}
    parts["citeseq"].obs["cell_type"] = parts["citeseq"].obs["cell_type"].astype(str).replace(own)
    found, members = real_relations(parts, {"citeseq": {theirs: name for name, theirs in own.items()}}, False)
    # CD8 T cells, and the four CD16 monocytes.
    check(found, members, missed=1)
    assert template_row(found, "citeseq", "CD14 Mono")["relation"] == "same as CD14+Mono (kang)"
    assert "lies elsewhere" in template_row(found, "kang", "CD8T")["evidence"]
