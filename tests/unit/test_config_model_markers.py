"""Markers by models in the configuration: off by default, and refused in words before anything runs."""

import pytest

from refatlas.config.model_markers import require_possible_markers
from refatlas.config.settings import complete_config
from refatlas.errors import InputError

WHERE = "config: differential: markers"
MODELS = {"scvi": {"type": "scvi"}, "maps": {"type": "trvae"}}


def completed(markers=None, **config) -> dict:
    section = {} if markers is None else {"markers": markers}
    return complete_config({"reference": "r.tsv", "models": MODELS, "differential": section, **config})


def test_without_models_nothing_is_left_of_the_section():
    assert "differential" not in completed()
    assert "differential" not in completed({"models": [], "cells": 100})
    contrasts = {"c": {"condition": "disease", "groups": ["ill", "well"], "sample": "donor"}}
    found = complete_config({"reference": "r.tsv", "differential": {"contrasts": contrasts}})["differential"]
    assert set(found) == {"contrasts", "gene_sets"}


def test_markers_get_their_defaults():
    found = completed({"models": ["scvi"]})["differential"]["markers"]
    assert found == {
        "models": ["scvi"],
        "groups": ["labels"],
        "cells": 500,
        "n_samples": 5000,
        "delta": 0.25,
        "fdr": 0.05,
        "batch_correction": True,
    }


@pytest.mark.parametrize(
    ("markers", "config", "message"),
    [
        (
            {"models": ["gone"]},
            {},
            r": models: 'gone' is not in models; name models of the types scvi, scanvi, totalvi",
        ),
        ({"models": ["maps"]}, {}, r": models: 'maps' is of type trvae; .*\(there are: scvi\)"),
        ({"models": ["scvi"], "groups": ["clusters"]}, {"clusters": {"resolutions": []}}, ": groups: clusters are"),
        ({"models": ["scvi"], "cells": 5}, {}, ": cells: 5 is less than the minimum of 20"),
        ({"models": ["scvi"], "groups": []}, {}, r": groups: \[\] should be non-empty|: groups: \[\] is too short"),
        ({"model": ["scvi"]}, {}, r": unknown key 'model' \(did you mean 'models'\?\)"),
    ],
)
def test_markers_that_cannot_be_are_refused(markers, config, message):
    with pytest.raises(InputError, match=f"^{WHERE}({message})"):
        completed(markers, **config)


def test_what_the_run_lacks_is_named():
    config = completed({"models": ["scvi"]})
    require_possible_markers(config, labelled=True, atlas=False)
    require_possible_markers(completed(), labelled=False, atlas=True)
    with pytest.raises(InputError, match="groups: labels are compared, and the reference has none"):
        require_possible_markers(config, labelled=False, atlas=False)
    with pytest.raises(InputError, match="an atlas bundle lacks the counts"):
        require_possible_markers(config, labelled=True, atlas=True)
    with pytest.raises(InputError, match="'scvi' is left out, because the reference has no labels"):
        require_possible_markers({**config, "models": {}}, labelled=False, atlas=False)
