"""The table that gives labels terms of the Cell Ontology, checked before anything runs.

Light: Snakemake reads it at every start.
"""

import os
import re

from refatlas.config.validation import require_plain_path
from refatlas.config.written_tables import plain_name, read_table
from refatlas.errors import InputError, shown

REQUIRED = ("label", "term")
TERM = re.compile(r"CL:\d{7}")


def read_terms(path: str) -> dict[str, str]:
    """Return the term of each label.

    Args:
        path: of a tab-separated table with the columns label and term, such as CL:0000236. Other columns are not read;
            a label without a term has none.

    Raises:
        InputError: the file or a column is missing, a label occurs twice, or a term is none of the Cell Ontology.
    """
    where = f"config: ontology: terms: {path!r}"
    require_plain_path(path, "config: ontology: terms")
    if not os.path.isfile(path):
        raise InputError(f"{where} does not exist (from {os.getcwd()}); give a table with the columns label and term")
    found: dict[str, str] = {}
    for line, row in read_table(path, REQUIRED, "a table of terms")[1]:
        label, term = plain_name(row.get("label", "")), row.get("term", "").strip()
        if label in found:
            raise InputError(f"{path}, line {line}: label {shown(repr(label))} is there twice; keep one of the rows")
        if term and not TERM.fullmatch(term):
            raise InputError(
                f"{path}, line {line}: {shown(repr(term))} is no term of the Cell Ontology; write CL: and seven digits,"
                " such as CL:0000236, or leave it empty"
            )
        found[label] = term
    return found
