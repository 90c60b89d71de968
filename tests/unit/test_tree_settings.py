"""Section tree of the configuration: what is refused at the start."""

import pytest

from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets
from refatlas.errors import InputError


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({"models": ["gone"]}, "tree: models: 'gone' is not in models; name one of scvi, scanvi, linear"),
        ({"models": ["linear"], "file": "gone.nwk"}, "tree: file 'gone.nwk' does not exist"),
        ({"update": ["q"]}, "tree: update needs a tree"),
        ({"classifier": "svm"}, "tree: unknown key 'classifier'"),
        ({"rejection": {"distance": 100}}, "100 is greater than or equal to the maximum of 100"),
    ],
)
def test_mistakes_in_the_configuration(tree, expected):
    with pytest.raises(InputError, match=expected):
        complete_config({"reference": "r", "queries": "q", "tree": tree})


def test_a_tree_that_is_none_is_refused_at_the_start(tmp_path):
    (tmp_path / "t.nwk").write_text("((A,B);")
    with pytest.raises(InputError, match="is not a Newick tree"):
        complete_config(
            {"reference": "r", "queries": "q", "tree": {"models": ["linear"], "file": str(tmp_path / "t.nwk")}}
        )


def test_the_tree_as_a_single_source():
    with pytest.raises(InputError, match="'scvi' has no tree of labels"):
        complete_config(
            {
                "reference": "r",
                "queries": "q",
                "deliver": {"source": "tree", "model": "scvi"},
                "tree": {"models": ["linear"]},
            }
        )


@pytest.mark.parametrize(
    ("update", "expected"),
    [("gone", "update: 'gone' is not a query"), ("q", "query 'q' has no labels to extend the tree with")],
)
def test_an_update_needs_a_query_with_labels(tmp_path, monkeypatch, update, expected):
    monkeypatch.chdir(tmp_path)
    for name, column in (("reference", "dataset"), ("queries", "query")):
        (tmp_path / f"{name}.h5ad").write_text("")
        (tmp_path / f"{name}.tsv").write_text(f"{column}\tpath\n{column[0]}\t{name}.h5ad\n")
    config = complete_config(
        {"reference": "reference.tsv", "queries": "queries.tsv", "tree": {"models": ["linear"], "update": [update]}}
    )
    with pytest.raises(InputError, match=expected):
        load_sheets(config)
