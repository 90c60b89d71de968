"""Labels and terms of the Cell Ontology."""

import pandas as pd
import pytest

from refatlas.annotate.ontology import read_term_table, terms_of_labels, with_terms
from refatlas.config.ontology import read_terms
from refatlas.errors import InputError

LABELS = ["B cell", "T cell", "my T", "Unknown thing"]


def test_the_table_goes_before_names():
    found = terms_of_labels(LABELS, {"my T": "CL:0000084", "T cell": ""}, by_name=True).set_index("label")
    assert found["term"].to_dict() == {
        "B cell": "CL:0000236",
        "T cell": "",
        "my T": "CL:0000084",
        "Unknown thing": "",
    }
    assert found["origin"].to_dict() == {"B cell": "name", "T cell": "none", "my T": "table", "Unknown thing": "none"}
    assert found.loc["my T", "name"] == "T cell"


def test_case_does_not_matter_and_synonyms_are_not_taken():
    found = terms_of_labels(["b CELL", "B-cell"], {}, by_name=True).set_index("label")["term"]
    assert found.to_dict() == {"b CELL": "CL:0000236", "B-cell": ""}


def test_names_are_only_taken_where_that_is_wanted():
    assert (terms_of_labels(LABELS, {}, by_name=False)["term"] == "").all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"B cel": "CL:0000236"}, r"no cell of the reference has the label .B cel.; there are B cell"),
        ({"B cell": "CL:9999999"}, r"label .B cell.: CL:9999999 is not in the Cell Ontology"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(table, message):
    with pytest.raises(InputError, match=message):
        terms_of_labels(LABELS, table, by_name=False)


def test_an_obsolete_term_is_refused_with_the_one_that_replaced_it():
    with pytest.raises(InputError, match="CL:0000663 is obsolete; write CL:1000147"):
        terms_of_labels(LABELS, {"B cell": "CL:0000663"}, by_name=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\tname\nB\tx\n", "term"),
        ("label\tterm\nB\tCL:236\n", "line 2: 'CL:236' is no term of the Cell Ontology"),
        ("label\tterm\nB\tCL:0000236\nB\tCL:0000084\n", "line 3: label 'B' is there twice"),
    ],
)
def test_a_wrong_table_is_refused_at_planning(tmp_path, text, message):
    (tmp_path / "terms.tsv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_terms(str(tmp_path / "terms.tsv"))


def test_a_missing_table_is_refused():
    with pytest.raises(InputError, match="does not exist"):
        read_terms("missing.tsv")


def test_rows_of_cells_get_the_terms_of_all_levels(tmp_path):
    terms_of_labels(["B cell", "lymphocyte", "other"], {}, by_name=True).to_csv(tmp_path / "terms.csv", index=False)
    terms = read_term_table(str(tmp_path / "terms.csv"))
    rows = pd.DataFrame({"label": ["B cell", "other"], "label_2": ["lymphocyte", None], "linear_label": ["B cell"] * 2})
    found = with_terms(rows, terms)
    assert list(found.columns[3:]) == ["label_ontology_term_id", "label_2_ontology_term_id"]
    assert found["label_ontology_term_id"].iloc[0] == "CL:0000236"
    assert found["label_2_ontology_term_id"].iloc[0] == "CL:0000542"
    assert found.iloc[1, 3:].isna().all()
