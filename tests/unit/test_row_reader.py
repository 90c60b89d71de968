"""Counts that stay in their file have the same rows as counts in memory."""

import numpy as np
import pytest
from scipy import sparse

from refatlas.io import row_reader
from refatlas.io.counts_size import OBS_BYTES, memory_mb
from refatlas.io.model_counts import read_counts, shallow_copy
from refatlas.io.row_reader import RowReader, on_disk, row_blocks, take_rows
from refatlas.models.interface import JobContext
from refatlas.models.linear import Linear


def test_what_stays_on_disk_is_otherwise_the_same(stored):
    here, there = read_counts(stored), read_counts(stored, from_disk=True)
    assert on_disk(there.X)
    assert not on_disk(here.X)
    assert here.obs.equals(there.obs)
    assert here.var.equals(there.var)
    assert np.array_equal(here.obsm["proteins"], there.obsm["proteins"])
    assert list(there.uns["protein_names"]) == ["CD3"]
    assert (there[[3, 600]].copy().X != here[[3, 600]].X).nnz == 0


@pytest.mark.parametrize(
    "rows", [[], [5], [699, 0, 3, 3, 650], list(range(700)), list(range(0, 700, 30)), list(range(699, -1, -1))]
)
def test_rows_come_in_the_order_asked_for(stored, monkeypatch, rows):
    monkeypatch.setattr(row_reader, "BLOCK", 64)
    here, rows = read_counts(stored).X, np.array(rows, dtype=int)
    for matrix in (here, read_counts(stored, from_disk=True).X):
        found = take_rows(matrix, rows)
        assert found.shape == (len(rows), 30)
        assert (found != here[rows]).nnz == 0


def test_no_more_than_a_block_is_read_at_once(stored, monkeypatch):
    monkeypatch.setattr(row_reader, "BLOCK", 64)
    rows, asked = RowReader.of(read_counts(stored, from_disk=True).X), []
    monkeypatch.setattr(
        rows,
        "arrays",
        [(dtype, lambda *part, read=read: asked.append(part) or read(*part)) for dtype, read in rows.arrays],
    )
    rows.take(np.array([0, 10, 200, 201, 260, *range(300, 600)]))
    assert asked[::2] == asked[1::2]
    read_rows = [np.searchsorted(rows.starts, last) - np.searchsorted(rows.starts, first) for first, last in asked[::2]]
    assert max(read_rows) <= 64
    assert sum(read_rows) == 11 + 2 + 1 + 300


def test_blocks_are_all_rows_in_their_order(stored):
    blocks = [list(row_blocks(read_counts(stored, from_disk).X, 300)) for from_disk in (False, True)]
    assert [b.shape[0] for b in blocks[0]] == [300, 300, 100]
    assert all((a != b).nnz == 0 for a, b in zip(*blocks, strict=True))
    assert [b.shape for b in row_blocks(sparse.csr_matrix((0, 4)))] == [(0, 4)]


def test_columns_are_its_own_and_the_matrix_is_shared(stored):
    counts = read_counts(stored, from_disk=True)
    other = shallow_copy(counts)
    other.obs["label"] = "C"
    assert other.X is counts.X
    assert "C" not in set(counts.obs["label"])


def test_memory_is_that_of_values_positions_and_cells(stored):
    assert memory_mb(stored) == pytest.approx((read_counts(stored).X.nnz * 8 + 700 * OBS_BYTES) / 1e6)


def test_the_baseline_is_the_same_from_disk(stored):
    settings = {name: setting["default"] for name, setting in Linear.settings["model"].items()} | {"n_latent": 5}
    models = [
        (Linear.fit(counts, {"model": settings}, JobContext()), counts)
        for counts in (read_counts(stored), read_counts(stored, from_disk=True))
    ]
    (here, counts), (there, counts_there) = models
    np.testing.assert_allclose(here.latent(counts), there.latent(counts_there), atol=1e-5)
    np.testing.assert_allclose(here.predict(counts), there.predict(counts_there), atol=1e-6)
