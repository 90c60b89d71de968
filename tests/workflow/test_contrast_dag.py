"""What contrasts plan: nothing without any, their own jobs with them, and no job of the rest."""

import pytest

from conftest import planned, small_counts, snakemake, write_sheets

CONTRAST = {"condition": "cell_type", "groups": ["A", "B"]}
RULES = {"plan_contrast", "compare_conditions", "compare_abundance", "write_contrast_page"}
LINEAR = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}}


@pytest.fixture
def project(tmp_path):
    for i, name in enumerate("aq"):
        small_counts(seed=i).write_h5ad(tmp_path / f"{name}.h5ad")
    return tmp_path


def write(folder, differential=None, **config):
    section = {} if differential is None else {"differential": differential}
    reference, queries = [{"dataset": "a", "path": "a.h5ad"}], [{"query": "q", "path": "q.h5ad"}]
    write_sheets(folder, reference, queries, **{**LINEAR, **section, **config})


def test_contrasts_plan_their_own_jobs_alone(project):
    write(project)
    without = planned(snakemake(project, "--dry-run"))
    assert not RULES & set(without)
    write(project, {"contrasts": {"one": CONTRAST, "other": {**CONTRAST, "cells": "queries"}}})
    assert planned(snakemake(project, "--dry-run")) == without | dict.fromkeys(RULES, 2)


def test_a_contrast_of_the_reference_waits_for_no_query_and_no_model(project):
    write(project, {"contrasts": {"one": {**CONTRAST, "cells": "reference"}}})
    jobs = planned(snakemake(project, "--dry-run", "results/differential/one/summary.json"))
    assert set(jobs) == {"scan_dataset", "plan_contrast", "compare_conditions"}


def test_abundance_of_the_reference_needs_no_counts(project):
    write(project, {"contrasts": {"one": {**CONTRAST, "cells": "reference"}}})
    jobs = planned(snakemake(project, "--dry-run", "results/differential/one/abundance.csv"))
    assert set(jobs) == {"scan_dataset", "plan_contrast", "compare_abundance"}


def test_densities_plan_their_own_jobs_alone(project):
    models = {"models": {"scvi": {"type": "scvi"}, "linear": {"type": "linear"}}}
    write(project, {"contrasts": {"one": CONTRAST}}, **models)
    without = planned(snakemake(project, "--dry-run"))
    write(project, {"contrasts": {"one": {**CONTRAST, "density": "scvi"}}}, **models)
    assert planned(snakemake(project, "--dry-run")) == without | {"compare_density": 1, "draw_density": 1}
    # Without the figure, no UMAP.
    target = "results/differential/one/models/scvi/density.csv"
    jobs = planned(snakemake(project, "--dry-run", target))
    assert (jobs["compare_density"], jobs["map_query"]) == (1, 2)
    assert not {"embed_reference", "embed_query", "draw_density", "compare_conditions"} & set(jobs)
    # A contrast of queries needs no cells of the reference, and one of the reference waits for no query.
    write(project, {"contrasts": {"one": {**CONTRAST, "density": "scvi", "cells": "reference"}}}, **models)
    assert "map_query" not in planned(snakemake(project, "--dry-run", target))


@pytest.mark.parametrize(
    ("contrast", "config", "message"),
    [
        ({"groups": ["A", "A"]}, {}, "groups: ['A', 'A'] has non-unique elements"),
        ({"sample": "cell_type"}, {}, "sample: 'cell_type' is the condition itself"),
        ({"density": "linear"}, {}, "density: 'linear' is of type linear; name a model of the types scvi, scanvi"),
        ({}, {"label_key": "-"}, "conditions are compared within labels, and the reference has none"),
    ],
)
def test_contrasts_that_cannot_be_are_refused_when_planning(project, contrast, config, message):
    write(project, {"contrasts": {"one": {**CONTRAST, **contrast}}}, **config)
    run = snakemake(project, "--dry-run", check=False)
    assert run.returncode != 0
    assert f"config: differential: contrasts: one: {message}" in run.stdout + run.stderr
