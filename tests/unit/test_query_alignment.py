"""The shift that all labels of a query share: found where it is planted, and not where one label moves alone."""

import numpy as np
import pytest
from scipy import sparse

from refatlas.transfer.query_alignment import MIN_BATCH_CELLS, batch_groups, label_means, shared_shift

N_LABELS, N_GENES = 5, 30
MEANS = np.random.default_rng(1).gamma(2.0, 1.0, (N_LABELS, N_GENES))
PLANTED = np.random.default_rng(2).normal(0, 1, N_GENES)


def cells(codes: np.ndarray, shifts: np.ndarray, seed: int = 0) -> sparse.csr_matrix:
    """Return expression of cells of these labels, each moved by its row of `shifts`."""
    noise = np.random.default_rng(seed).normal(0, 0.3, (len(codes), N_GENES))
    return sparse.csr_matrix(MEANS[codes] + shifts + noise)


def shift_of(codes: np.ndarray, expression: sparse.csr_matrix, confidence=None, reference_sizes=None) -> np.ndarray:
    confidence = np.linspace(0.5, 1, len(codes)) if confidence is None else confidence
    sizes = np.full(N_LABELS, 100) if reference_sizes is None else np.array(reference_sizes)
    return shared_shift(expression, codes, confidence, MEANS, sizes)


CODES = np.tile(np.arange(N_LABELS), 60)


def test_means_of_labels_by_hand():
    expression = sparse.csr_matrix(np.array([[1.0, 0.0], [3.0, 2.0], [9.0, 9.0], [5.0, 5.0]]))
    means, sizes = label_means(expression, np.array([0, 0, -1, 2]), 3)
    assert means.tolist() == [[2.0, 1.0], [0.0, 0.0], [5.0, 5.0]]
    assert sizes.tolist() == [2, 0, 1]


def test_a_shift_of_all_labels_is_found():
    found = shift_of(CODES, cells(CODES, np.tile(PLANTED, (len(CODES), 1))))
    assert found == pytest.approx(PLANTED, abs=0.15)


def test_a_shift_of_one_label_of_many_is_left_alone():
    moved = np.where((CODES == 2)[:, None], 5 * PLANTED, 0.0)
    assert np.abs(shift_of(CODES, cells(CODES, moved))).max() < 0.15


def test_the_least_confident_cells_do_not_count():
    unconfident = np.arange(len(CODES)) % 4 == 0
    confidence = np.where(unconfident, 0.3, 0.9) + np.linspace(0, 0.01, len(CODES))
    found = shift_of(CODES, cells(CODES, np.where(unconfident[:, None], 5.0, 0.0)), confidence)
    assert np.abs(found).max() < 0.15


@pytest.mark.parametrize(
    ("codes", "reference_sizes"),
    [
        (np.zeros(60, dtype=int), None),
        (np.repeat([0, 1], [60, 4]), None),
        (np.repeat([0, 1], 30), [100, 9, 100, 100, 100]),
    ],
)
def test_without_a_second_label_a_shift_cannot_be_told_from_a_type(codes, reference_sizes):
    expression = cells(codes, np.tile(PLANTED, (len(codes), 1)))
    assert not shift_of(codes, expression, np.ones(len(codes)), reference_sizes).any()


def test_a_batch_of_one_label_is_represented_by_the_whole_query():
    batches = np.repeat(["many", "one", "tiny"], [90, 60, MIN_BATCH_CELLS - 1])
    codes = np.concatenate([np.arange(90) % 3, np.zeros(60, dtype=int), np.arange(MIN_BATCH_CELLS - 1) % 3])
    groups = batch_groups(batches, codes)
    assert [mask.sum() for mask, _ in groups] == [90, 60, MIN_BATCH_CELLS - 1]
    assert np.sum([mask for mask, _ in groups], axis=0).tolist() == [1] * len(batches)
    assert (groups[0][1] == (batches == "many")).all()
    assert groups[1][1].all()
    assert groups[2][1].all()


def test_labels_with_few_cells_do_not_make_a_batch_representative():
    batches = np.repeat(["sorted", "mixed"], [100, 100])
    # Beside its own type, the sorted batch has one or two cells of others.
    codes = np.concatenate([np.zeros(97), [1, 2, 2], np.arange(100) % 4]).astype(int)
    mixed, sorted_cells = batch_groups(batches, codes)
    assert sorted_cells[1].all()
    assert (mixed[1] == (batches == "mixed")).all()
