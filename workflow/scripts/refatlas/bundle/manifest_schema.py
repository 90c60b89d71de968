"""What the manifest of a bundle may hold: it comes from elsewhere, and its names become parts of paths.

Light: Snakemake imports it at every start.
"""

from typing import Any

from refatlas.config.addresses import SHA256
from refatlas.config.validation import require_name, require_valid
from refatlas.errors import InputError, shown

TEXT, TEXT_OR_NONE = {"type": "string"}, {"type": ["string", "null"]}
SWITCH = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "format": {"type": "integer", "minimum": 1},
        **dict.fromkeys(("refatlas", "name", "version", "description"), TEXT),
        **dict.fromkeys(("title", "license", "citation", "intended_use", "not_for"), TEXT_OR_NONE),
        "authors": {"type": "array", "items": {"type": ["string", "object"]}},
        "settings": {"type": "object", "properties": {"models": {"type": "object"}}},
        "datasets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["label_keys", "protein_key"],
                "properties": {
                    "label_keys": {"type": "array", "items": TEXT},
                    "protein_key": TEXT_OR_NONE,
                    "species": TEXT,
                },
            },
        },
        "labels": {
            "type": "object",
            "required": ["labelled", "relabelled", "levels"],
            "properties": {
                **dict.fromkeys(("labelled", "relabelled", "terms"), SWITCH),
                "levels": {"type": "integer", "minimum": 1, "maximum": 100},
            },
        },
        "models": {"type": "object", "additionalProperties": TEXT},
        "counts": {"enum": ["simulated", "sample", "all"]},
        "grown": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["query", "cells"],
                "properties": {"query": TEXT, "cells": COUNT, "voting": COUNT},
            },
        },
        "facts": {"type": "object"},
        "files": {"type": "object"},
    },
}


def require_valid_manifest(manifest: dict[str, Any], where: str) -> None:
    """Raise an InputError unless a manifest's values are of their types, and its names can be parts of paths.

    Names of folds, and the settings themselves, are checked with the configuration that they become.

    Args:
        where: begin of the message: the bundle.
    """
    require_valid(manifest, SCHEMA, where)
    names = {
        "datasets": manifest["datasets"],
        "models": manifest.get("models", {}),
        "settings: models": manifest["settings"].get("models", {}),
        "grown": [part["query"] for part in manifest.get("grown", [])],
    }
    for key, found in names.items():
        for name in found:
            require_name(name, f"{where}: {key}:")
    _require_checksums(manifest["files"], where)


def _require_checksums(files: dict[str, Any], where: str) -> None:
    """Raise an InputError if a file has no checksum. By hand: of thousands of files, a schema would take a second."""
    for name, entry in files.items():
        if not isinstance(entry, dict) or not SHA256.fullmatch(str(entry.get("sha256"))):
            raise InputError(f"{where}: files: {shown(name)!r} has {shown(repr(entry))}; expected are sha256 and bytes")
