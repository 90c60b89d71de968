"""Records of training and early stopping; answers by hand."""

import numpy as np
import pytest

from refatlas.models.recorder import Recorder, report_non_finite, training_of, with_max_epochs


def recorded(losses: list[float], **settings) -> Recorder:
    """Return a recorder that has taken these losses."""
    recorder = Recorder("train", "loss", **{"patience": 2, "min_delta": 0.1, "warmup": 0, "n_cells": 10, **settings})
    recorder.start()
    for epoch, loss in enumerate(losses, start=1):
        recorder.take(epoch, 100, {"loss": loss})
    return recorder


def test_training_converges_when_the_loss_stops_falling():
    assert not recorded([10, 8, 7.9]).converged
    assert recorded([10, 8, 7.9, 7.9]).converged
    assert not recorded([10, 8, 7.9, 7]).converged


def test_epochs_of_the_warmup_do_not_count():
    assert not recorded([10, 20, 30], warmup=3).converged
    assert recorded([10, 20, 30, 40, 50], warmup=3).converged


def test_a_loss_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="train: loss is nan after epoch 2"):
        recorded([1, np.nan])


def test_a_recorder_continues_from_its_state():
    first = recorded([10, 8])
    second = recorded([])
    second.restore(first.state())
    second.start()
    second.take(3, 100, {"loss": 7.9})
    second.take(4, 100, {"loss": 7.9})
    assert second.converged
    training = training_of([second], "cpu")
    assert list(training.history["epoch"]) == [1, 2, 3, 4]
    assert training.final_loss() == 7.9


@pytest.mark.parametrize(("n_cells", "expected"), [(1, 400), (10_000, 128), (1_000_000, 20)])
def test_epochs_follow_from_the_number_of_cells(n_cells, expected):
    assert with_max_epochs({"max_epochs": None, "batch_size": 128}, n_cells)["max_epochs"] == expected
    assert with_max_epochs({"max_epochs": 7, "batch_size": 128}, n_cells)["max_epochs"] == 7


def test_a_fold_has_the_epochs_of_the_whole_reference():
    settings = {"max_epochs": None, "batch_size": 128}
    whole = with_max_epochs(settings, 30_000)["max_epochs"]
    assert with_max_epochs({**settings, "share": 2 / 3}, 20_000)["max_epochs"] == whole == 42
    assert with_max_epochs(settings, 20_000)["max_epochs"] == 64


def test_weights_that_are_not_numbers_are_reported():
    with (
        pytest.raises(FloatingPointError, match="surgery: weights are no longer numbers"),
        report_non_finite("surgery"),
    ):
        raise ValueError("found invalid values: tensor([nan])")
    with pytest.raises(ValueError, match="another"), report_non_finite("surgery"):
        raise ValueError("another")
