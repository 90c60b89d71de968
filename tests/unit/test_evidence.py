"""Evidence on cells: read by the models' names, stacked, and kept in files."""

import numpy as np
import pandas as pd
import pytest

from refatlas.transfer.evidence import Evidence, HeldOut, known_labels, read_evidence, stack_evidence
from refatlas.transfer.label_table import label_table

CELLS = pd.Index(["q:1", "q:2"], name="cell")


def write_model(folder, p, distance):
    """Write the files of one model with reversed cells; return their paths by kind."""
    folder.mkdir()
    cells = CELLS[::-1]
    label_table(cells, "knn", ["A", "C"], np.array(p)[::-1]).to_parquet(folder / "labels.parquet")
    pd.DataFrame({"distance": distance[::-1]}, index=cells).to_parquet(folder / "distance.parquet")
    pd.DataFrame({"deviance_ratio": [1.0, 1.0]}, index=cells).to_parquet(folder / "fit.parquet")
    return {kind: str(folder / f"{kind}.parquet") for kind in ("labels", "distance", "fit")}


def test_sources_and_measures_belong_to_the_models_that_made_them(tmp_path):
    files = {
        "n": write_model(tmp_path / "n", [[0.2, 0.8], [0.3, 0.7]], [3.0, 4.0]),
        "m": write_model(tmp_path / "m", [[0.9, 0.1], [0.6, 0.4]], [1.0, 2.0]),
    }
    pd.DataFrame({"latent_1": [5.0, 6.0]}, index=CELLS).to_parquet(tmp_path / "latent.parquet")
    batches, known = pd.Series("b", index=CELLS), known_labels(paths["labels"] for paths in files.values())
    assert known == ["A", "C"]
    found = read_evidence("fold_1", batches, files, str(tmp_path / "latent.parquet"), ["A", "B", "C"])
    assert found.sources["m:knn"] == pytest.approx(np.array([[0.9, 0, 0.1], [0.6, 0, 0.4]]))
    assert found.sources["n:knn"][:, 0] == pytest.approx([0.2, 0.3])
    assert found.novelty_measures["m:distance"].tolist() == [1.0, 2.0]
    assert found.novelty_measures["n:distance"].tolist() == [3.0, 4.0]
    assert found.groups.tolist() == ["fold_1 b", "fold_1 b"]


def test_latent_spaces_of_other_dimensions_are_padded():
    parts = [
        Evidence(CELLS, ["A"], {"m:knn": np.ones((2, 1))}, pd.DataFrame(index=CELLS), np.ones((2, n)), np.array([g, g]))
        for n, g in ((1, "x"), (2, "y"))
    ]
    found = stack_evidence(parts)
    assert found.positions.tolist() == [[1, 0], [1, 0], [1, 1], [1, 1]]
    assert found.groups.tolist() == ["x", "x", "y", "y"]
    assert len(found.take(np.array([True, False, False, True])).cells) == 2


def test_held_out_cells_survive_their_file(tmp_path):
    cells = HeldOut({"m:knn": np.array([[0.1, 0.9], [0.7, 0.3]])}, np.array([1, 0]), np.array(["a", "b"]))
    cells.save(tmp_path / "held_out.npz")
    again = HeldOut.load(tmp_path / "held_out.npz")
    assert (again.truth.tolist(), again.batches.tolist()) == ([1, 0], ["a", "b"])
    assert again.sources["m:knn"] == pytest.approx(cells.sources["m:knn"], abs=1e-6)
