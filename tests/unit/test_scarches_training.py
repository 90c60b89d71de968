"""Minibatches, validation cells and early stopping of the types of scArches; answers by hand."""

from types import SimpleNamespace

import numpy as np

from refatlas.models.scarches_training import Minibatches, RecorderStopping, validation_cells


class Cells:
    """A data set of scArches, which squeezes a single cell."""

    def __init__(self, n_cells: int, weights=None) -> None:
        self.x, self.stratifier_weights = np.arange(3 * n_cells).reshape(n_cells, 3), weights

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, part):
        return {"x": np.squeeze(self.x[part])}


def sizes(n_cells: int, size: int) -> list[int]:
    return [len(part["x"]) for part in Minibatches(Cells(n_cells), size, np.random.default_rng(0))]


def test_minibatches_hold_every_cell_once_and_none_is_a_single_cell():
    assert sizes(129, 128) == [65, 64]
    assert sizes(128, 128) == [128]
    assert sizes(257, 128) == [86, 86, 85]
    found = np.concatenate([part["x"][:, 0] for part in Minibatches(Cells(129), 128, np.random.default_rng(0))])
    assert sorted(found) == list(range(0, 3 * 129, 3))


def test_a_single_cell_keeps_its_shape():
    assert sizes(1, 128) == [1]
    assert next(iter(Minibatches(Cells(1), 128, np.random.default_rng(0))))["x"].shape == (1, 3)


def test_stratified_minibatches_follow_the_weights():
    weights = np.array([0.5] * 2 + [1 / 98] * 98)
    drawn = np.concatenate(
        [part["x"][:, 0] for part in Minibatches(Cells(100, weights), 10, np.random.default_rng(0), stratified=True)]
    )
    assert 0.3 < (drawn < 6).mean() < 0.7


def test_a_tenth_of_each_group_is_held_out_and_none_of_a_small_one():
    groups = np.array(["large"] * 50 + ["small"] * 9)
    valid = validation_cells(groups, seed=0)
    assert valid[:50].sum() == 5
    assert valid[50:].sum() == 0
    assert (validation_cells(groups, seed=0) == valid).all()
    assert (validation_cells(groups, seed=1) != valid).any()


def test_learning_rate_falls_on_a_plateau_and_then_waits_again():
    recorder = SimpleNamespace(rows=[], best_epoch=1, converged=False)
    stopping, found = RecorderStopping(recorder, lr_patience=2, lr_factor=0.1), []
    for epoch in range(1, 8):
        recorder.rows.append(epoch)
        recorder.converged = epoch == 7
        found.append(stopping.step(0.0))
    assert [lower for _, lower in found] == [False, False, True, False, True, False, True]
    assert [go_on for go_on, _ in found] == [True] * 6 + [False]
