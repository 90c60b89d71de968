"""Labels of cells by an annotation and a label map, the template, the rounds, and what reads the labels."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import small_counts
from refatlas.annotate.accept import accept
from refatlas.annotate.accept import main as accept_template
from refatlas.annotate.annotation import annotate_datasets, annotation_template
from refatlas.annotate.held_cells import cell_hashes
from refatlas.annotate.rounds import HISTORY, record_round
from refatlas.config.annotation import parse_annotation
from refatlas.config.label_map import read_label_map
from refatlas.errors import InputError
from refatlas.evaluate.known_labels import compare_labels
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import with_labels_of
from refatlas.io.model_counts import read_counts, write_labelled_link, write_matrix
from refatlas.prepare.cell_quality import Scan
from refatlas.prepare.excluded_cells import exclude_cells
from refatlas.resources import megabytes

N = 60
CELLS = pd.Index([f"a:c{i}" for i in range(40)] + [f"b:c{i}" for i in range(20)], name="cell")
# Coarse: 0 has 40 cells and 1 has 20; fine: 0 is split into 0 and 1, and 1 is 2.
CLUSTERS = pd.DataFrame({"0.5": np.repeat([0, 1], [40, 20]), "1": np.repeat([0, 1, 2], [25, 15, 20])}, index=CELLS)


@pytest.fixture
def datasets():
    """Cells of two datasets, of which the first has labels; its last cell is not kept."""
    cells = pd.DataFrame({"batch": "a:1", "keep": True}, index=CELLS)
    a, b = cells.iloc[:40].copy(), cells.iloc[40:].copy()
    a["label"] = np.where(np.arange(40) < 20, "own T", "own B")
    return {"a": a, "b": b}


def template(resolution: str) -> pd.DataFrame:
    numbers = np.unique(CLUSTERS[resolution])
    summary = pd.DataFrame({"cluster": numbers, "n_batches": 1, "flags": ""})
    proposals = pd.DataFrame({"cluster": numbers, "suggestion": "", "sure": "", "evidence": ""})
    return annotation_template("scvi", CLUSTERS[resolution], cell_hashes(CELLS), summary, proposals, 1)


def written(folder, rows: dict[tuple[str, int], dict]) -> str:
    """Write templates of all resolutions as one annotation, with some cells filled in; return its path."""
    table = pd.concat([template(resolution) for resolution in CLUSTERS])
    for (resolution, cluster), values in rows.items():
        place = (table["resolution"] == resolution) & (table["cluster"] == cluster)
        for name, value in values.items():
            table.loc[place, name] = value
    path = str(folder / "annotation.tsv")
    write_table(table, path)
    return path


def labelled(datasets, annotation=None, label_map=None, changed="refuse", clusters=CLUSTERS):
    files = {"annotation": annotation, "label_map": label_map}
    rows = parse_annotation(annotation) if annotation else []
    names = read_label_map(label_map, datasets) if label_map else []
    return annotate_datasets(datasets, rows, names, clusters if annotation else None, files, changed)


def test_the_template_has_one_row_per_cluster_and_no_decision(tmp_path):
    table = template("1")
    assert list(table["cells"]) == [25, 15, 20]
    assert set(table["label"]) == {""}
    write_table(table, tmp_path / "t.tsv")
    with pytest.raises(InputError, match="no cluster has a label"):
        parse_annotation(str(tmp_path / "t.tsv"))


def test_finer_clusters_decide_over_coarser_ones(tmp_path, datasets):
    path = written(tmp_path, {("0.5", 0): {"label": "T"}, ("1", 1): {"label": "CD8 T"}})
    cells = labelled(datasets, path).cells
    assert cells["a"]["label"].tolist() == ["T"] * 25 + ["CD8 T"] * 15
    assert cells["b"]["label"].isna().all()


def test_cells_of_undecided_clusters_keep_the_labels_of_their_dataset(tmp_path, datasets):
    cells = labelled(datasets, written(tmp_path, {("0.5", 1): {"label": "NK"}})).cells
    assert cells["a"]["label"].tolist() == ["own T"] * 20 + ["own B"] * 20
    assert set(cells["b"]["label"]) == {"NK"}


def test_clusters_that_are_taken_out_have_no_label_and_are_listed(tmp_path, datasets):
    taken = {("1", 1): {"exclude": "yes", "note": "doublets"}, ("1", 2): {"exclude": "yes"}}
    found = labelled(datasets, written(tmp_path, taken))
    assert found.cells["a"]["label"].isna().tolist() == [False] * 25 + [True] * 15
    assert found.cells["a"]["excluded"].sum() == 15
    assert found.excluded["cell"].tolist() == CELLS[25:].tolist()
    reasons = ["cluster 1 of scvi, resolution 1: doublets", "cluster 2 of scvi, resolution 1"]
    assert found.excluded["reason"].tolist() == [reasons[0]] * 15 + [reasons[1]] * 20


def test_a_cluster_that_does_not_exist_is_refused(tmp_path, datasets):
    path = written(tmp_path, {("1", 2): {"label": "NK"}})
    fewer = CLUSTERS.assign(**{"1": CLUSTERS["1"].clip(upper=1)})
    with pytest.raises(InputError, match="there is no cluster 2 of scvi at resolution 1; there are 0 to 1"):
        labelled(datasets, path, clusters=fewer)
    carried = labelled(datasets, path, changed="carry", clusters=fewer)
    assert carried.changes["change"].tolist() == ["changed"]


def test_a_label_map_renames_and_an_annotation_goes_before_it(tmp_path, datasets):
    names = tmp_path / "map.tsv"
    names.write_text("dataset\tlabel\tname\na\town T\tT cell\na\town B\t\n")
    assert labelled(datasets, label_map=str(names)).cells["a"]["label"].tolist() == ["T cell"] * 20 + ["own B"] * 20
    both = labelled(datasets, written(tmp_path, {("1", 1): {"label": "B cell"}}), str(names)).cells["a"]["label"]
    assert both.tolist() == ["T cell"] * 20 + ["own B"] * 5 + ["B cell"] * 15
    names.write_text("dataset\tlabel\tname\na\tgone\tT cell\n")
    with pytest.raises(InputError, match=r"gone.*own B"):
        labelled(datasets, label_map=str(names))


def test_rounds_are_kept_with_who_said_what(tmp_path, datasets):
    summary = str(tmp_path / "annotation.json")

    def record(rows):
        path = written(tmp_path, rows)
        found = labelled(datasets, path)
        files = {"annotation": path, "label_map": None}
        return record_round(summary, parse_annotation(path), [], files, found)

    first = record({("1", 0): {"label": "T", "by": "Ann"}})
    assert first["labels"] == {"T": 25, "own B": 15}
    assert first["rounds"][0]["by"] == {"Ann": 1}
    assert record({("1", 0): {"label": "T", "by": "Ann"}})["rounds"] == first["rounds"]
    second = record({("1", 0): {"label": "CD4 T", "by": "Bob"}, ("1", 2): {"exclude": "yes", "by": "Bob"}})
    assert [found["round"] for found in second["rounds"]] == [1, 2]
    assert second["rounds"][1]["changes"] == [
        "scvi, resolution 1, cluster 0: T → CD4 T",
        "scvi, resolution 1, cluster 2: undecided → excluded",
    ]
    assert len(json.loads((tmp_path / HISTORY).read_text())) == 2
    # A history of an older version has another word, which is no change.
    (tmp_path / HISTORY).write_text((tmp_path / HISTORY).read_text().replace('"excluded"', '"taken out"'))
    third = record({("1", 0): {"label": "T", "by": "Bob"}, ("1", 2): {"exclude": "yes", "by": "Bob"}})
    assert third["rounds"][2]["changes"] == ["scvi, resolution 1, cluster 0: CD4 T → T"]


def test_accepted_suggestions_are_marked_as_such():
    rows = pd.DataFrame({"label": ["", ""], "suggestion": ["NK", ""], "sure": ["high", ""], "note": "", "by": ""})
    assert accept(rows)[["label", "note"]].to_numpy().tolist() == [["NK", "suggested: high"], ["", ""]]


def test_accepting_suggestions_keeps_what_people_wrote(tmp_path):
    rows = pd.DataFrame(
        {
            "cluster": ["0", "1", "2"],
            "label": ["NA", "T", ""],
            "cells": "9",
            "suggestion": ["NK", "", "B, naive"],
            "sure": "high",
            "note": ["mine", "", "look again"],
            "by": ["Ann", "Ann", ""],
        }
    )
    rows.to_csv(tmp_path / "template.tsv", sep="\t", index=False)
    # Whatever its name, an annotation is separated by tabs.
    accept_template(str(tmp_path / "template.tsv"), str(tmp_path / "annotation.txt"))
    written = pd.read_csv(tmp_path / "annotation.txt", sep="\t", dtype=str, keep_default_na=False)
    assert written[["label", "note", "by"]].to_numpy().tolist() == [
        ["NA", "mine", "Ann"],
        ["T", "", "Ann"],
        ["B, naive", "look again", "suggestion"],
    ]
    with pytest.raises(SystemExit, match="exists, and may have names that people wrote"):
        accept_template(str(tmp_path / "template.tsv"), str(tmp_path / "annotation.txt"))


def test_labels_of_other_cells_replace_own_ones():
    cells = pd.DataFrame({"batch": "x", "label": "old", "label_2": "old"}, index=["c1", "c2"])
    taken = with_labels_of(cells, pd.DataFrame({"label": ["new"]}, index=["c2"]))
    assert taken.columns.tolist() == ["batch", "label"]
    assert taken["label"].tolist() == [None, "new"]


@pytest.mark.parametrize("from_disk", [False, True])
def test_labelled_counts_link_to_the_counts(tmp_path, from_disk):
    counts = small_counts()
    path, linked = tmp_path / "counts.h5ad", tmp_path / "labelled_counts.h5ad"
    matrix = counts.X
    del counts.X
    counts.write_h5ad(path)
    with h5py.File(path, "a") as file:
        write_matrix(file, matrix)
    labels = pd.DataFrame({"label": ["A"] * 10}, index=counts.obs_names[:10])
    assert write_labelled_link(path, labels, linked) == 10
    found = read_counts(linked, from_disk)
    assert found.obs["label"].notna().sum() == 10
    assert found.obs["batch"].astype(str).tolist() == counts.obs["batch"].astype(str).tolist()
    stored = found.X[:] if from_disk else found.X
    assert (sparse.csr_matrix(stored) != matrix).nnz == 0
    assert linked.stat().st_size < path.stat().st_size
    assert megabytes([str(linked)]) == megabytes([str(path)])


def test_excluded_cells_are_dropped_by_name(tmp_path):
    def scan():
        cells = pd.DataFrame(
            {"reason": ["", "", "too few genes"], "keep": [True, True, False]}, index=["a:1", "a:2", "a:3"]
        )
        return Scan(cells, pd.DataFrame(), {"low_quality": {}})

    path = tmp_path / "excluded.tsv"
    path.write_text("cell\treason\na:2\tdoublets\nb:9\tdoublets\n")
    found = scan()
    exclude_cells(found, "a", str(path), ["a", "b"])
    assert found.cells["keep"].tolist() == [True, False, False]
    assert found.summary["n_kept"] == 1
    assert found.summary["low_quality"] == {"excluded": 1, "too few genes": 1}
    with pytest.raises(InputError, match="cell 'b:9' is of no dataset"):
        exclude_cells(scan(), "a", str(path), ["a"])
    path.write_text("cell\na:7\n")
    with pytest.raises(InputError, match="1 cells are not in dataset 'a': a:7"):
        exclude_cells(scan(), "a", str(path), ["a"])
    path.write_text("a:1\na:2\n")
    found = scan()
    exclude_cells(found, "a", str(path), ["a"])
    assert found.cells["keep"].tolist() == [False, False, False]


def test_known_labels_of_queries_must_be_names_of_the_reference():
    reference = pd.DataFrame({"label": ["T", "B", "gone"], "keep": [True, True, False]})
    found = compare_labels("q", pd.Series(["T", "NK", None]), reference, ["annotation.tsv"])
    assert found == {"known": ["T"], "unknown": ["NK"]}
    with pytest.raises(InputError, match=r"query 'q': its known labels .gone, t cell. have no name in common"):
        compare_labels("q", pd.Series(["t cell", "gone"]), reference, ["annotation.tsv"])
