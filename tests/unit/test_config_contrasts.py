"""Contrasts in the configuration: completed, and refused in words before anything runs."""

import pytest

from refatlas.config.contrasts import contrast_sources, gene_set_file
from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.models.gene_programs import BUNDLED

GOOD = {"condition": "disease", "groups": ["ill", "well"], "sample": "donor"}
WHERE = "config: differential: contrasts: c: "


def completed(contrast=None, **section) -> dict:
    contrasts = {} if contrast is None else {"c": contrast}
    return complete_config({"reference": "r.tsv", "differential": {"contrasts": contrasts, **section}})


def test_a_contrast_gets_its_defaults():
    found = completed(GOOD)["differential"]["contrasts"]["c"]
    assert (found["status"], found["cells"], found["min_cells"], found["labels"]) == ("assigned", "both", 10, [])
    assert (found["covariates"], found["design"], found["allow_confounded"]) == ([], None, False)


def test_without_contrasts_the_section_is_gone():
    assert "differential" not in complete_config({"reference": "r.tsv"})
    assert "differential" not in completed(gene_sets=None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition": None}, WHERE + "condition: None has the wrong type"),
        ({"group": ["a", "b"]}, WHERE + "unknown key 'group' (did you mean 'groups'?)"),
        ({"groups": ["ill"]}, WHERE + "groups: ['ill'] is too short"),
        ({"groups": [1, "1"]}, WHERE + "groups: both are '1'; name two values of 'disease'"),
        ({"sample": "disease"}, WHERE + "sample: 'disease' is the condition itself"),
        ({"covariates": ["disease"]}, WHERE + "covariates: 'disease' is the condition itself"),
        ({"design": "~ sex + disease", "covariates": ["sex"]}, WHERE + "design and covariates are both set"),
        ({"design": "sex + disease"}, WHERE + "design: 'sex + disease' must begin with ~"),
        ({"design": "~ sex"}, WHERE + "design: '~ sex' must begin with ~ and contain the condition 'disease'"),
        ({"continuous": ["age"]}, WHERE + "continuous: 'age' is not in covariates; add it there"),
        ({"min_cells": 0}, WHERE + "min_cells: 0 is less than the minimum of 1"),
    ],
)
def test_contrasts_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError) as error:
        completed({**GOOD, **change})
    assert str(error.value).startswith(message)


def test_names_become_parts_of_paths():
    with pytest.raises(InputError, match="contrasts: name 'a/b' is not allowed"):
        complete_config({"reference": "r.tsv", "differential": {"contrasts": {"a/b": GOOD}}})


def test_gene_sets_are_read_before_anything_runs(tmp_path):
    assert gene_set_file(completed(GOOD)["differential"]) == str(BUNDLED)
    assert gene_set_file(completed(GOOD, gene_sets=None)["differential"]) is None
    with pytest.raises(InputError, match=r"config: differential: gene_sets: no file 'gone\.gmt'"):
        completed(GOOD, gene_sets="gone.gmt")
    broken = tmp_path / "broken.gmt"
    broken.write_text("SET\tabout\n")
    with pytest.raises(InputError, match=r"config: differential: gene_sets: .*line 1: 'SET.*' has no gene"):
        completed(GOOD, gene_sets=str(broken))


def test_sources_follow_the_cells_that_take_part():
    contrast = completed(GOOD)["differential"]["contrasts"]["c"]
    assert contrast_sources("c", contrast, ["d"], ["q"], True) == (["d"], ["q"])
    assert contrast_sources("c", {**contrast, "cells": "queries"}, ["d"], ["q"], True) == ([], ["q"])
    assert contrast_sources("c", contrast, [], ["q"], True) == ([], ["q"])
    with pytest.raises(InputError, match="cells: reference: this run has no such files"):
        contrast_sources("c", {**contrast, "cells": "reference"}, [], ["q"], True)
    with pytest.raises(InputError, match="compared within labels, and the reference has none"):
        contrast_sources("c", contrast, ["d"], ["q"], False)
