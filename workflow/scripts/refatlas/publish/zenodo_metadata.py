"""The metadata of a record on Zenodo, from the manifest of a bundle."""

import html
import re
from typing import Any

from refatlas.errors import InputError
from refatlas.publish.bundle_files import TAR, Bundle

DOI = re.compile(r"\b10\.\d{4,9}/[^\s\"<>,;]*[^\s\"<>,;.)\]]")
KEYWORDS = ["single-cell", "reference atlas", "label transfer", "refatlas"]


def record_metadata(bundle: Bundle, communities: list[str]) -> dict[str, Any]:
    """Return the metadata of a bundle's record, as the deposition API takes it.

    Raises:
        InputError: the manifest has no authors.
    """
    manifest = bundle.manifest
    found: dict[str, Any] = {
        "title": manifest.get("title") or f"{manifest['name']}: single-cell reference atlas",
        "upload_type": "dataset",
        "description": _description(manifest),
        "creators": [_creator(author) for author in _authors(manifest)],
        "access_right": "open",
        "license": manifest["license"].lower(),
        "version": str(manifest["version"]),
        "keywords": KEYWORDS,
        "notes": marker(bundle),
    }
    if communities:
        found["communities"] = [{"identifier": name} for name in communities]
    related = related_identifiers(str(manifest.get("citation") or ""))
    return found | ({"related_identifiers": related} if related else {})


def marker(bundle: Bundle) -> str:
    """Return the sentence of a record by which its draft is found again."""
    return f"SHA-256 of {TAR}: {bundle.tar.sha256}"


def related_identifiers(citation: str) -> list[dict[str, str]]:
    """Return the DOIs in a citation: of works that the record is a supplement to."""
    found = dict.fromkeys(DOI.findall(citation))
    return [{"identifier": doi, "relation": "isSupplementTo", "scheme": "doi"} for doi in found]


def _authors(manifest: dict[str, Any]) -> list[Any]:
    authors = manifest.get("authors") or []
    if not authors:
        raise InputError(
            "bundle.json has no authors, and Zenodo takes no record without; set bundle: authors in the config"
        )
    return authors


def _creator(author: str | dict[str, str]) -> dict[str, str]:
    """Return a person, given as a name or as a mapping with the key name, as Zenodo takes it."""
    given = {"name": author} if isinstance(author, str) else author
    found = {key: given[key] for key in ("name", "affiliation", "orcid") if given.get(key)}
    if "name" not in found:
        raise InputError(f"bundle.json: an author has no name: {author}; correct bundle: authors in the config")
    if "orcid" in found:
        found["orcid"] = found["orcid"].removeprefix("https://orcid.org/")
    return found


def _description(manifest: dict[str, Any]) -> str:
    """Return the description as HTML, with how to use the record."""
    about = str(manifest.get("description") or f"Single-cell reference atlas {manifest['name']}.")
    parts = [*about.strip().split("\n\n"), f"Made by refatlas {manifest.get('refatlas', '')}".strip() + "."]
    if manifest.get("citation"):
        parts.append(f"Please cite: {manifest['citation']}")
    return "".join(f"<p>{html.escape(part.strip())}</p>" for part in parts)
