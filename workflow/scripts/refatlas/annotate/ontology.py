"""Labels and terms of the Cell Ontology, by CZI's cellxgene-ontology-guide, which brings the ontology along."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from refatlas.errors import InputError, listed, shown

ONTOLOGY = "CL"
SUFFIX = "_ontology_term_id"
COLUMNS = ("label", "term", "name", "origin")


def terms_of_labels(labels: Iterable[str], table: Mapping[str, str], by_name: bool) -> pd.DataFrame:
    """Return the term of each label.

    Args:
        labels: of the reference, at all levels.
        table: terms by label, "" for none; it goes before names.
        by_name: whether a label that is the name of a term, up to case, means that term. Synonyms are not taken: some
            are broader or narrower than their term.

    Returns:
        One row per label: label, term ("" for none), name (of the term), origin ("table", "name" or "none").

    Raises:
        InputError: the table has a label that no cell has, or a term that does not exist or is obsolete.
    """
    ontology, labels = _ontology(), sorted(set(labels))
    if unknown := [label for label in table if label not in labels]:
        raise InputError(
            f"config: ontology: terms: no cell of the reference has the label"
            f" {shown(repr(unknown[0]))}; there are {listed(labels)}"
        )
    for label, term in table.items():
        if term:
            _require_term(ontology, label, term)
    names = {name.lower(): term for name, term in ontology.get_term_label_to_id_map(ONTOLOGY).items()}
    rows = []
    for label in labels:
        named = names.get(label.lower(), "") if by_name else ""
        term, origin = (table[label], "table") if label in table else (named, "name")
        rows.append((label, term, ontology.get_term_label(term) if term else "", origin if term else "none"))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _ontology() -> Any:
    from cellxgene_ontology_guide.ontology_parser import OntologyParser

    return OntologyParser()


def _require_term(ontology: Any, label: str, term: str) -> None:
    where = f"config: ontology: terms: label {shown(repr(label))}: {term}"
    if not ontology.is_valid_term_id(term, ONTOLOGY):
        raise InputError(f"{where} is not in the Cell Ontology that refatlas has; check the number")
    if ontology.is_term_deprecated(term):
        instead = ontology.get_term_replacement(term)
        raise InputError(f"{where} is obsolete" + (f"; write {instead}" if instead else "; choose another term"))


def with_terms(rows: pd.DataFrame, terms: Mapping[str, str]) -> pd.DataFrame:
    """Return rows of cells with the term of each level's label, missing where it has none.

    Args:
        rows: with the columns label, label_2 … of the levels that there are.
        terms: by label; "" for none.
    """
    levels = [column for column in rows if column == "label" or column.removeprefix("label_").isdigit()]
    known = {label: term for label, term in terms.items() if term}
    return rows.assign(**{f"{level}{SUFFIX}": rows[level].astype(object).map(known) for level in levels})


def read_term_table(path: str) -> dict[str, str]:
    """Return the terms by label that `terms_of_labels` found, from ontology.csv."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    return dict(zip(table["label"], table["term"], strict=True))
