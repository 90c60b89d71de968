"""What a verdict says of a query of another species than all labelled datasets of the reference.

Its labels do not pass: how often they are right was learned on held-out batches of the atlas' species. How well
confidence holds in another one was measured on few pairs (docs/species.md).
"""

from collections.abc import Mapping
from typing import Any

REMEDY = (
    "confirm the labels by markers of its own species, or add a labelled dataset of it to the reference: held-out cells"
    " are then of it, too"
)


def with_species(verdict: Mapping[str, Any], check: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a verdict with a note on the species among its reasons and checks; "pass" becomes "warn".

    Args:
        verdict: of `assess`.
        check: check.json of the query; None if a labelled dataset of the reference is of its species. Without
            `orthologs`, the query is of the species whose genes the atlas has, and the datasets are not.
    """
    if check is None:
        return dict(verdict)
    facts = check.get("orthologs")
    of = facts["of"] if facts else "the species whose genes the atlas has"
    doubt = f"the query is of {of}, and no cell that confidence was calibrated on is of it"
    share = check["gene_overlap"]
    note = {
        "check": "species",
        "unusual": True,
        "value": round(share, 4),
        "usual": [None, None],
        "held_out": [],
        "meaning": f"another species: {_genes(facts, check)}; {doubt}",
        "remedy": REMEDY,
    }
    parts = {name: _not_passed(part, doubt) for name, part in verdict["batches"].items()}
    species = {key: facts[key] if facts else None for key in ("of", "to")}
    found = {**_not_passed(verdict, doubt), "batches": parts, "species": species}
    return {**found, "reasons": [note, *verdict["reasons"]], "checks": [note, *verdict["checks"]]}


def _genes(facts: Mapping[str, Any] | None, check: Mapping[str, Any]) -> str:
    n = check["n_selected"]
    found = f"{n - len(check['padded_genes']):,} of the {n:,} genes of the models were found in it"
    if facts is None:
        return found
    if facts["as_named"]:
        return f"{found}, named in the file as genes of {facts['to']}"
    orthologs = f"{facts['one_to_one']:,} of its {facts['n_genes']:,} genes have a one-to-one ortholog in {facts['to']}"
    return f"{orthologs}, and {found}"


def _not_passed(part: Mapping[str, Any], doubt: str) -> dict[str, Any]:
    if part["verdict"] != "pass":
        return dict(part)
    return {**part, "verdict": "warn", "reason": f"{part['reason']}, but {doubt}"}
