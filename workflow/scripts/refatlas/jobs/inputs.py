"""Files of a job by the name of the dataset, model, query or fold that they belong to.

Rules declare such files under names with colons, such as "labels:scvi". A name cannot contain a
colon.
"""

from typing import Any


def by_name(files: Any, kind: str) -> dict[str, Any]:
    """Return the files that a rule declares as "kind:name", by name, in the rule's order.

    Args:
        files: of the job: smk.input or smk.output.
    """
    prefix = f"{kind}:"
    return {key.removeprefix(prefix): path for key, path in files.items() if key.startswith(prefix)}


def by_name_and_kind(files: Any, *kinds: str) -> dict[str, dict[str, Any]]:
    """Return the files of several kinds, by name and then by kind."""
    found: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        for name, path in by_name(files, kind).items():
            found.setdefault(name, {})[kind] = path
    return found


def by_two_names(files: Any, kind: str) -> dict[str, dict[str, Any]]:
    """Return the files that a rule declares as "kind:first:second", by both names."""
    found: dict[str, dict[str, Any]] = {}
    for names, path in by_name(files, kind).items():
        first, second = names.split(":")
        found.setdefault(first, {})[second] = path
    return found
