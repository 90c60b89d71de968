"""A saved index is read as it was, and refused if it is damaged or of another reference."""

import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.io.fingerprints import sha256_of
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.reference_index import ReferenceIndex, index_cells
from refatlas.transfer.weighted_knn import logistic_table, outlier_factors, weighted_knn_labels, weighted_knn_table

RANDOM = np.random.default_rng(0)


def by_definition(reference, query, k):
    """Return the k nearest by distance in double precision and place."""
    squares = np.zeros((len(query), len(reference)))
    for i in range(reference.shape[1]):
        squares += (query[:, i, None].astype(float) - reference[:, i].astype(float)) ** 2
    found = np.argsort(squares, axis=1, kind="stable")[:, :k]
    return found, np.sqrt(np.take_along_axis(squares, found, axis=1))


def single(x) -> np.ndarray:
    return np.asarray(x, dtype=np.float32)


@pytest.fixture
def saved(tmp_path):
    """An index and the latent.parquet that it was made of."""
    latent = pd.DataFrame(single(RANDOM.normal(size=(900, 4))), columns=list("abcd"))
    labels = pd.Series(np.where(latent["a"] > 0, "up", "down"))
    latent.to_parquet(tmp_path / "latent.parquet")
    made = index_cells(latent.to_numpy(), labels, 0)
    made.save(str(tmp_path / "index.npz"), str(tmp_path / "latent.parquet"))
    return tmp_path, made, labels


def test_a_saved_index_gives_the_labels_of_the_cells_themselves(saved):
    folder, made, labels = saved
    again = ReferenceIndex.load(str(folder / "index.npz"), str(folder / "latent.parquet"))
    cells, query = made.index.in_order(), single(RANDOM.normal(size=(130, 4)))
    expected = weighted_knn_table(labels, *by_definition(cells, query, 20), pd.RangeIndex(130))
    pd.testing.assert_frame_equal(weighted_knn_labels(again, query, pd.RangeIndex(130), 20, 2, block=31), expected)
    pd.testing.assert_frame_equal(
        logistic_table(again.logistic, query, pd.RangeIndex(130)),
        logistic_table(made.logistic, query, pd.RangeIndex(130)),
    )
    assert np.array_equal(again.sample, made.sample)


def test_an_index_of_version_1_gives_the_same_labels_and_distances(saved):
    folder, made, _ = saved
    new, old, latent = (str(folder / name) for name in ("index.npz", "old.npz", "latent.parquet"))
    with np.load(new) as arrays:
        parts = {name: values for name, values in arrays.items() if not name.startswith("density ")}
    np.savez(old, **parts | {"version": 1, "latent": sha256_of(latent)})
    query, cells = single(RANDOM.normal(size=(50, 4))), pd.RangeIndex(50)
    tables, factors = [], []
    for path in (new, old):
        index = ReferenceIndex.load(path, latent)
        tables.append(weighted_knn_labels(index, query, cells, 20, 1))
        factors.append(outlier_factors(index.sample, query, 1, index.density))
    assert index.density is None
    pd.testing.assert_frame_equal(*tables)
    assert np.array_equal(*factors)
    assert np.array_equal(factors[0], outlier_factors(made.sample, query))


def test_nearest_cells_are_positions_in_the_reference(saved):
    folder, _, labels = saved
    index = ReferenceIndex.load(folder / "index.npz", folder / "latent.parquet")
    latent, query = pd.read_parquet(folder / "latent.parquet").to_numpy(), single(RANDOM.normal(size=(50, 4)))
    assert all(map(np.array_equal, index.nearest(query, 7), nearest_neighbors(latent, query, 7)))
    assert [part.shape for part in index.nearest(query[:0], 7)] == [(0, 7), (0, 7)]
    assert index.is_complete
    index_cells(latent[10:], labels[10:], 0).save(folder / "index.npz", folder / "latent.parquet")
    assert not ReferenceIndex.load(folder / "index.npz", folder / "latent.parquet").is_complete


def test_a_large_latent_space_is_recognised_by_parts_of_its_file(tmp_path, saved):
    latent = pd.DataFrame(single(RANDOM.normal(size=(400_000, 4))), columns=list("abcd"))
    latent.to_parquet(tmp_path / "large.parquet")
    saved[1].save(tmp_path / "index.npz", tmp_path / "large.parquet")
    assert not ReferenceIndex.load(tmp_path / "index.npz", tmp_path / "large.parquet").is_complete
    (latent + 1e-3).to_parquet(tmp_path / "large.parquet")
    with pytest.raises(InputError, match="was not made of"):
        ReferenceIndex.load(tmp_path / "index.npz", tmp_path / "large.parquet")


def test_a_damaged_index_is_refused(saved):
    folder, path = saved[0], saved[0] / "index.npz"
    good = path.read_bytes()
    middle = len(good) // 2
    for bad in (b"", b"no index", good[:middle], good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :]):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="cannot be read as an index"):
            ReferenceIndex.load(str(path), str(folder / "latent.parquet"))


def test_an_index_of_another_reference_or_format_is_refused(saved):
    folder, path = saved[0], str(saved[0] / "index.npz")
    with np.load(path) as arrays:
        parts = dict(arrays)
    for change, message in (
        ({"version": 0}, "format 0 found, expected 1 or 2"),
        ({"codes": parts["codes"][1:]}, "do not fit each other"),
        ({"index ids": parts["index ids"] + 1}, "do not fit each other"),
        ({"index low": parts["index low"][:, 1:]}, "do not fit each other"),
        ({"density reach": parts["density reach"][1:]}, "do not fit each other"),
        ({"odd": 1}, "lacks a part"),
    ):
        np.savez(path, **parts | change)
        with pytest.raises(InputError, match=message):
            ReferenceIndex.load(path, str(folder / "latent.parquet"))
    np.savez(path, **parts)
    pd.DataFrame({"a": [1.0]}).to_parquet(folder / "latent.parquet")
    with pytest.raises(InputError, match="was not made of"):
        ReferenceIndex.load(path, str(folder / "latent.parquet"))
