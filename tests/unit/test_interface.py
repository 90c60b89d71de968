"""Training is repeated once if its loss is not finite."""

from types import SimpleNamespace

import pytest

from refatlas.errors import InputError
from refatlas.models.checkpoints import Checkpoints
from refatlas.models.interface import Training, train_again_if_not_finite


def test_a_loss_that_is_not_finite_is_tried_once_more_at_a_lower_rate():
    rates = []

    def train(settings, bad=1):
        rates.append(settings["train"]["lr"])
        if len(rates) <= bad:
            raise FloatingPointError("train: elbo is nan after epoch 3")
        return SimpleNamespace(training=Training())

    model = train_again_if_not_finite(train, {"train": {"lr": 0.1, "max_epochs": 3}}, Checkpoints())
    assert rates == pytest.approx([0.1, 0.01])
    assert "tenth of the learning rate" in model.training.notes[0]
    rates.clear()
    with pytest.raises(InputError, match=r"elbo is nan after epoch 3, also with a tenth of the learning rate"):
        train_again_if_not_finite(lambda settings: train(settings, bad=9), {"train": {"lr": 0.1}}, Checkpoints())
    assert len(rates) == 2
