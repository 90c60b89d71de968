"""Fills in a template of an annotation with the names that are suggested, for people to correct.

    python -m refatlas.annotate.accept TEMPLATE ANNOTATION

What is filled in already stays. Clusters without a suggestion stay without a name.
"""

import os
import sys

import pandas as pd

from refatlas.io.atomic import atomic_path


def accept(template: pd.DataFrame) -> pd.DataFrame:
    """Return a template whose empty labels are its suggestions, with a note that says so.

    Labels, notes and names of people (by) that are filled in stay.

    Args:
        template: one row per cluster, all columns as text.
    """
    taken = template["label"].eq("") & template["suggestion"].ne("")
    own = {"label": template["suggestion"], "note": "suggested: " + template["sure"], "by": "suggestion"}
    return template.assign(**{name: template[name].mask(taken & template[name].eq(""), own[name]) for name in own})


def main(template: str, annotation: str) -> None:
    """Write the annotation, separated by tabs whatever its name, and print what needs a look.

    Raises:
        SystemExit: the annotation exists, and may hold somebody's work.
    """
    if os.path.exists(annotation):
        sys.exit(f"{annotation} exists, and may have names that people wrote; give another name, or remove it")
    rows = accept(pd.read_csv(template, sep="\t", dtype=str, keep_default_na=False))
    with atomic_path(annotation) as part:
        rows.to_csv(part, index=False, sep="\t")
    for row in rows.itertuples():
        print(f"cluster {row.cluster} ({row.cells} cells): {row.label or 'no name'} ({row.sure or 'no evidence'})")
    print(f"{annotation}: these are suggestions. Look at the markers, and correct the column label")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: python -m refatlas.annotate.accept TEMPLATE ANNOTATION, not {sys.argv[1:]}")
    main(*sys.argv[1:])
