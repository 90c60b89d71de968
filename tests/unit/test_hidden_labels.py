"""Labels that are hidden in turn: which, and what their cells look like to the rest of the reference."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from refatlas.transfer import hidden_labels
from refatlas.transfer.hidden_labels import MAX_LABELS, hidden_label_measures, labels_to_hide
from refatlas.transfer.novelty_measures import MEASURES
from simulated_cells import N_GENES, simulated_cells


def labels(**sizes: int) -> np.ndarray:
    return np.repeat(list(sizes), list(sizes.values())).astype(object)


def test_labels_with_enough_held_out_cells_are_hidden_the_most_frequent_first():
    held_out = np.concatenate([labels(a=10, b=50, c=9, unknown=90), [None, None]])
    assert labels_to_hide(labels(a=5, b=5, c=5, d=5), held_out) == ["b", "a"]


def test_two_labels_must_be_left():
    assert labels_to_hide(labels(a=50, b=50), labels(a=50, b=50)) == []
    assert labels_to_hide(labels(a=50, b=50, c=50), labels(a=50)) == ["a"]
    assert labels_to_hide(labels(a=50, b=50, c=50), labels(other=50)) == []


def test_of_many_labels_some_are_hidden_from_the_frequent_to_the_rare():
    held_out = labels(**{f"l{i:02}": 200 - i for i in range(40)})
    found = labels_to_hide(held_out, held_out)
    assert len(found) == MAX_LABELS == len(set(found))
    assert (found[0], found[-1]) == ("l00", "l39")
    assert found == sorted(found)


@pytest.fixture(scope="module")
def data():
    return simulated_cells(dict.fromkeys("ABC", 80), 0), simulated_cells({"A": 60, "B": 60, "C": 8}, 1)


def measured(data, **changes):
    (reference, names), (query, truth) = data
    given = {"truth": truth.astype(object), "names": names, **changes}
    everything = np.ones(N_GENES, dtype=bool)
    batches = np.where(np.arange(len(truth)) % 2 == 0, "x", "y")
    return hidden_label_measures(reference, given["names"], query, given["truth"], batches, everything, 0)


def test_cells_of_each_hidden_label_are_measured_beside_all_others(data):
    found = measured(data)
    assert list(found.columns) == ["hidden", "batch", "given", "unseen", *MEASURES]
    assert found.groupby("hidden").size().to_dict() == {"A": 128, "B": 128}
    assert (found["given"] != found["hidden"]).all()
    assert found.groupby("hidden")["unseen"].sum().to_dict() == {"A": 60, "B": 60}
    assert set(found["batch"]) == {"x", "y"}
    for _, part in found.groupby("hidden"):
        assert roc_auc_score(part["unseen"].astype(bool), part["mahalanobis"].astype(float)) > 0.9


def test_cells_without_a_label_of_the_reference_are_measured_but_are_no_known_cells(data):
    truth = data[1][1]
    other = truth.astype(object)
    other[:10], other[10:15] = None, "new"
    found, everything = measured(data, truth=other), measured(data)
    assert found.groupby("hidden").size().to_dict() == {"A": 113, "B": 113}
    assert found.groupby("hidden")["unseen"].sum().to_dict() == {"A": 60 - (truth[:15] == "A").sum(), "B": 60}
    # They are part of their batch, so that the measures of the others stay as they are.
    for hidden, part in found.groupby("hidden"):
        expected = everything[everything["hidden"] == hidden].iloc[15:]
        for name in MEASURES:
            assert part[name].to_numpy(dtype=float) == pytest.approx(expected[name].to_numpy(dtype=float), nan_ok=True)


def test_no_rows_are_left_if_no_label_can_be_hidden(data):
    found = measured(data, names=np.where(data[0][1] == "C", "B", data[0][1]))
    assert found.empty
    assert list(found.columns) == ["hidden", "batch", "given", "unseen", *MEASURES]


def test_of_many_held_out_cells_some_are_drawn(data, monkeypatch):
    monkeypatch.setattr(hidden_labels, "MAX_QUERY", 100)
    assert set(measured(data).groupby("hidden").size()) == {100}
