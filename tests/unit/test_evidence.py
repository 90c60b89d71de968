"""Evidence on cells: read by the names of cells and models, taken in part and stacked."""

import numpy as np
import pandas as pd
import pytest

from refatlas.io.atomic import write_json
from refatlas.transfer.evidence import Evidence, known_labels, read_evidence, stack_evidence
from refatlas.transfer.label_table import label_table

CELLS = pd.Index(["q:1", "q:2"], name="cell")


def write_labels(path, p) -> str:
    """Write labels of one source, with reversed cells."""
    label_table(CELLS[::-1], "knn", ["A", "C"], np.array(p)[::-1]).to_parquet(path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    models = {
        "n": {"labels": write_labels(tmp_path / "n", [[0.2, 0.8], [0.3, 0.7]])},
        "m": {"labels": write_labels(tmp_path / "m", [[0.9, 0.1], [0.6, 0.4]])},
    }
    measures = pd.DataFrame({"energy": [4.0, 3.0], "given": ["C", "A"]}, index=CELLS[::-1])
    measures.to_parquet(tmp_path / "measures")
    write_json({"agreement": {"": {"way_back": 0.5}, "x": {"way_back": 0.7}}}, tmp_path / "agreement")
    matched = {"labels": write_labels(tmp_path / "matched", [[0.5, 0.5], [0.1, 0.9]])}
    return models, {**matched, "measures": str(tmp_path / "measures"), "agreement": str(tmp_path / "agreement")}


def test_sources_and_measures_belong_to_the_models_and_cells_that_made_them(files):
    models, matched = files
    batches = pd.Series(["x", "y"], index=CELLS)
    assert known_labels(paths["labels"] for paths in models.values()) == ["A", "C"]
    found = read_evidence("fold_1", batches, models, matched, ["A", "B", "C"])
    assert list(found.sources) == ["matched:knn", "n:knn", "m:knn"]
    assert found.sources["matched:knn"] == pytest.approx(np.array([[0.5, 0, 0.5], [0.1, 0, 0.9]]))
    assert found.sources["m:knn"] == pytest.approx(np.array([[0.9, 0, 0.1], [0.6, 0, 0.4]]))
    assert found.sources["n:knn"][:, 0] == pytest.approx([0.2, 0.3])
    assert found.measures["energy"].tolist() == [3.0, 4.0]
    assert found.measures["given"].tolist() == ["A", "C"]
    assert found.groups.tolist() == found.measures["batch"].tolist() == ["fold_1 x", "fold_1 y"]


def test_a_batch_that_is_too_small_is_judged_by_the_whole_query(files):
    found = read_evidence("atlas", pd.Series(["x", "y"], index=CELLS), *files, ["A", "C"])
    assert found.agreement == {"atlas x": {"way_back": 0.7}, "atlas y": {"way_back": 0.5}}


def test_a_query_that_is_too_small_is_not_judged(files):
    write_json({"agreement": {}}, files[1]["agreement"])
    assert read_evidence("atlas", pd.Series(["x", "y"], index=CELLS), *files, ["A", "C"]).agreement == {}


def one(name: str) -> Evidence:
    cells = pd.Index([f"{name}:1", f"{name}:2"])
    measures = pd.DataFrame({"energy": [1.0, 2.0]}, index=cells)
    return Evidence(cells, ["A"], {"m:knn": np.ones((2, 1))}, measures, np.array([name, name]), {name: {"halves": 1.0}})


def test_queries_are_stacked_and_cells_are_taken():
    found = stack_evidence([one("x"), one("y")])
    assert found.groups.tolist() == ["x", "x", "y", "y"]
    assert list(found.agreement) == ["x", "y"]
    part = found.take(np.array([True, False, False, True]))
    assert part.cells.tolist() == part.measures.index.tolist() == ["x:1", "y:2"]
    assert part.measures["energy"].tolist() == [1.0, 2.0]
    assert part.sources["m:knn"].shape == (2, 1)
