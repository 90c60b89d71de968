"""The atlas file has the delivered labels of query cells, and beside them the model's own."""

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from conftest import small_counts
from refatlas.io.atomic import write_table
from refatlas.report.atlas_file import atlas_cells, write_atlas
from refatlas.transfer.label_table import label_table


def write_places(folder: Path, cells: pd.Index, value: float) -> dict[str, str]:
    """Write a latent space and a UMAP in another order of cells; return their paths."""
    paths = {}
    for kind, n in (("latent", 3), ("umap", 2)):
        table = pd.DataFrame(value, index=cells[::-1], columns=[f"{kind}_{i}" for i in range(n)], dtype=np.float32)
        table.index.name = "cell"
        paths[kind] = str(folder / f"{kind}.parquet")
        write_table(table, paths[kind])
    return paths


def make_query(folder: Path, name: str, value: float) -> dict[str, str]:
    """Write the files of a query of six cells whose delivered labels are "delivered" and kNN labels "A"."""
    folder.mkdir()
    counts = small_counts(6, 10)
    counts.obs_names = [f"{name}:{i}" for i in range(6)]
    counts.write_h5ad(folder / "counts.h5ad")
    cells = pd.DataFrame({"barcode": [str(i) for i in range(6)]}, index=pd.Index(counts.obs_names, name="cell"))
    write_table(cells, folder / "cells.parquet")
    shares = np.full((6, 2), 0.5)
    write_table(label_table(cells.index[::-1], "knn", ["A", "B"], shares), folder / "labels.parquet")
    delivered = pd.DataFrame(
        {
            "cell": cells["barcode"],
            "label": "delivered",
            "confidence": 0.9,
            "status": ["novel"] + ["assigned"] * 5,
            "batch_verdict": "warn",
        }
    )
    write_table(delivered, folder / "labels.csv")
    return {
        "counts": str(folder / "counts.h5ad"),
        "cells": str(folder / "cells.parquet"),
        "labels": str(folder / "labels.parquet"),
        "delivered": str(folder / "labels.csv"),
        **write_places(folder, counts.obs_names, value),
    }


@pytest.fixture
def reference():
    counts = small_counts(8, 10)
    counts.obs_names = [f"d:{i}" for i in range(8)]
    counts.obs = counts.obs.assign(dataset="d", label=["T", None] * 4)[["dataset", "batch", "label"]]
    return counts


def test_delivered_labels_are_beside_the_models_own(tmp_path, reference):
    files = {name: make_query(tmp_path / name, name, value) for name, value in (("q2", 2.0), ("q1", 1.0))}
    own = write_places(tmp_path, reference.obs_names, 0.0)
    obs, obsm = atlas_cells(reference, own["latent"], own["umap"], files)
    write_atlas(str(tmp_path / "atlas.h5ad"), reference, {q: f["counts"] for q, f in files.items()}, obs, obsm)
    found = ad.read_h5ad(tmp_path / "atlas.h5ad")
    assert list(found.obs) == [
        "dataset", "batch", "label", "origin", "confidence", "status", "batch_verdict", "knn_label", "knn_confidence",
    ]  # fmt: skip
    assert found.obs["dataset"].tolist() == ["d"] * 8 + ["q2"] * 6 + ["q1"] * 6
    query, atlas = found[found.obs["origin"] == "query"].obs, found[found.obs["origin"] == "reference"].obs
    assert set(query["label"]) == {"delivered"}
    assert set(query["confidence"]) == {0.9}
    assert set(query["batch_verdict"]) == {"warn"}
    assert query["status"].tolist() == (["novel"] + ["assigned"] * 5) * 2
    assert set(query["knn_label"]) == {"A"}
    assert set(query["knn_confidence"]) == {0.5}
    assert set(atlas["status"]) == {"reference"}
    assert atlas["label"].isna().tolist() == [False, True] * 4
    assert atlas[["confidence", "knn_label", "knn_confidence"]].isna().all(axis=None)
    assert found.obsm["X_latent"][:, 0].tolist() == [0.0] * 8 + [2.0] * 6 + [1.0] * 6
    assert found.obsm["X_umap"].shape == (20, 2)
    expected = np.vstack([reference.X.toarray(), *[ad.read_h5ad(f["counts"]).X.toarray() for f in files.values()]])
    assert np.array_equal(found.X.toarray(), expected)


def test_a_reference_without_labels_has_an_atlas(tmp_path, reference):
    del reference.obs["label"]
    own = write_places(tmp_path, reference.obs_names, 0.0)
    obs, _ = atlas_cells(reference, own["latent"], own["umap"], {"q": make_query(tmp_path / "q", "q", 1.0)})
    assert obs["label"].notna().tolist() == [False] * 8 + [True] * 6
