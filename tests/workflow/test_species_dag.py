"""For which queries the verdict is told of another species: those of which no labelled dataset is."""

import pytest

from conftest import small_counts, snakemake, write_sheets


@pytest.mark.parametrize(
    ("datasets", "query", "told"),
    [
        ({"a": {}}, {}, False),
        ({"a": {}}, {"species": "human"}, False),
        ({"a": {}}, {"species": "mouse"}, True),
        ({"a": {}, "b": {"species": "mouse"}}, {"species": "mouse"}, False),
        # Without labels, none of its cells is held out.
        ({"a": {}, "b": {"species": "mouse", "label_key": "-"}}, {"species": "mouse"}, True),
        ({"a": {"species": "mouse"}}, {"species": "mouse"}, False),
        # The species whose genes the atlas has, and no dataset of it.
        ({"a": {"species": "mouse"}}, {}, True),
        ({"a": {"species": "mouse"}}, {"species": "human"}, True),
    ],
)
def test_a_verdict_is_told_of_a_species_without_labelled_cells(tmp_path, datasets, query, told):
    for name in ("q", *datasets):
        small_counts().write_h5ad(tmp_path / f"{name}.h5ad")
    rows = [{"dataset": name, "path": f"{name}.h5ad", **row} for name, row in datasets.items()]
    config = {"models": {"linear": {"type": "linear"}}, "evaluation": {"folds": 0}}
    species = {"species": "human", "orthologs": "bundled"}
    write_sheets(tmp_path, rows, [{"query": "q", "path": "q.h5ad", **query}], **config, **species)
    run = snakemake(tmp_path, "--dry-run", "--quiet", "progress", "--", "results/queries/q/verdict.json")
    text = run.stdout + run.stderr
    (job,) = (part for part in text.split("rule ") if part.startswith("assess_query:"))
    inputs = next(line for line in job.splitlines() if line.strip().startswith("input:"))
    assert ("results/queries/q/check.json" in inputs) == told
