"""Which jobs with models need torch."""

import pytest

from refatlas.jobs.torch_use import needs_torch
from refatlas.models.registry import MODEL_TYPES


@pytest.mark.parametrize("script", ["train_reference", "map_query", "run_trial"])
def test_all_types_but_those_of_plain_arrays_need_torch(script):
    without = {kind for kind in MODEL_TYPES if not needs_torch(script, {"settings": {"type": kind}})}
    assert without == {"linear", "embedding"}


@pytest.mark.parametrize("script", ["learn_regions", "place_query"])
def test_places_need_torch_for_sagenet_alone(script):
    assert needs_torch(script, {"settings": {"methods": ["knn", "sagenet"]}})
    assert not needs_torch(script, {"settings": {"methods": ["knn", "logistic_regression"]}})


@pytest.mark.parametrize("script", ["find_model_markers", "place_query", "train_reference"])
def test_a_job_that_does_not_say_is_taken_to_need_it(script):
    assert needs_torch(script, {})
    assert needs_torch(script, {"settings": {"delta": 0.25}})
