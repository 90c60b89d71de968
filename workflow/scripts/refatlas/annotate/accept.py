"""Fills in a template of an annotation with the names that are suggested, for people to correct.

    python -m refatlas.annotate.accept TEMPLATE ANNOTATION

Clusters without a suggestion stay without a name.
"""

import sys

import pandas as pd

from refatlas.io.atomic import write_table


def accept(template: pd.DataFrame) -> pd.DataFrame:
    """Return a template with its suggestions as labels, and a note that says so."""
    suggestion = template["suggestion"].fillna("").astype(str)
    note = ("suggested: " + template["sure"].fillna("").astype(str)).where(suggestion != "", "")
    return template.assign(label=suggestion, note=note, by="suggestion")


def main(template: str, annotation: str) -> None:
    """Write the annotation, and print what needs a look."""
    rows = accept(pd.read_csv(template, sep="\t", dtype=str, keep_default_na=False))
    write_table(rows, annotation)
    for row in rows.itertuples():
        print(f"cluster {row.cluster} ({row.cells} cells): {row.label or 'no name'} ({row.sure or 'no evidence'})")
    print(f"{annotation}: these are suggestions. Look at the markers, and correct the column label")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python -m refatlas.annotate.accept TEMPLATE ANNOTATION, not {sys.argv[1:]}")
    main(*sys.argv[1:])
