"""The manifest of an atlas bundle: what it holds, and the settings that queries are mapped with.

Light: Snakemake imports it at every start.
"""

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

from refatlas.bundle.manifest_schema import require_valid_manifest
from refatlas.config.validation import require_plain_path
from refatlas.errors import InputError, listed, shown
from refatlas.io.fingerprints import sha256_of
from refatlas.models.registry import MODEL_TYPES, whole_models

# Of the layout of bundles. Older formats are read, newer ones refused.
FORMAT = 1
MANIFEST, CARD, ARCHIVE = "bundle.json", "README.md", "atlas.tar"
# The sample of counts that queries are matched with, once queries have joined the atlas.
MATCHED_SAMPLE = "grown_sample.h5ad"
REQUIRED = ("format", "refatlas", "name", "version", "settings", "datasets", "labels", "counts", "files")
# What a run with a bundle may set itself: how files are read and what is written. The rest was measured with the atlas.
OWN_KEYS = (
    "atlas",
    "queries",
    "batch_key",
    "protein_key",
    "orthologs",
    "verdict",
    "export",
    "report",
    "query",
    "expression",
    "spatial",
    "checkpoint",
    "memory",
    "cache",
    "pathvars",
    "suggestions",
    "bundle",
    "publish",
    "differential",
    "receptors",
)
# Settings that name files of the machine where an atlas is made, with what a bundle has in their place.
FILES = {
    "reference": None,
    "annotation": None,
    "label_map": None,
    "exclude": None,
    "ontology": {"terms": None, "names": False},
}

Manifest = dict[str, Any]


def find_manifest(path: str) -> Path:
    """Return the file that a bundle is read from: its archive, or the manifest in its folder.

    Args:
        path: of an archive (atlas.tar), of the folder of one, or of an unpacked bundle.

    Raises:
        InputError: there is no bundle.
    """
    where = f"config: atlas: {shown(repr(path), 300)}"
    require_plain_path(path, "config: atlas")
    found = Path(path)
    if found.is_dir():
        candidates = [found / ARCHIVE, found / MANIFEST]
        found = next(filter(Path.is_file, candidates), found)
    if not found.is_file():
        reason = f"has neither {ARCHIVE} nor {MANIFEST}" if found.is_dir() else "does not exist"
        raise InputError(
            f"{where} {reason} (from {os.getcwd()}); give the file {ARCHIVE} that target bundle writes, or the folder"
            " that it was unpacked to"
        )
    return found


def read_manifest(path: str) -> Manifest:
    """Return the manifest of a bundle.

    Args:
        path: as of `find_manifest`.

    Raises:
        InputError: there is no bundle, it is damaged, of a newer format, or has a value of a wrong type, or a name that
            cannot be part of a path.
    """
    file = find_manifest(path)
    where = f"config: atlas: {str(file)!r}"
    try:
        manifest = json.loads(_manifest_text(file))
    except (ValueError, KeyError, OSError, RecursionError, tarfile.TarError) as error:
        raise InputError(
            f"{where} is not an atlas bundle, or is damaged ({error}); fetch it again, or give the {ARCHIVE} that"
            " target bundle writes"
        ) from None
    missing = [key for key in REQUIRED if key not in manifest] if isinstance(manifest, dict) else list(REQUIRED)
    if missing:
        raise InputError(
            f"{where}: {MANIFEST} lacks {listed(missing)}; it is no atlas bundle of refatlas, or was edited"
        )
    if isinstance(manifest["format"], int) and manifest["format"] > FORMAT:
        raise InputError(
            f"{where}: the bundle has format {manifest['format']}, made by refatlas {manifest['refatlas']}, and this"
            f" version reads up to format {FORMAT}; install a newer refatlas"
        )
    require_valid_manifest(manifest, f"{where}: {MANIFEST}")
    return manifest


def _manifest_text(file: Path) -> str:
    """Return the text of the manifest. It comes first in an archive, so that little is read."""
    if file.name == MANIFEST:
        return file.read_text(encoding="utf-8")
    with tarfile.open(file, "r:") as archive:
        member = archive.next()
        if member is None or member.name != MANIFEST:
            raise KeyError(f"its first file is {member.name if member else 'missing'}, not {MANIFEST}")
        stream = archive.extractfile(member)
        if stream is None:
            raise KeyError(f"{MANIFEST} is no file")
        return stream.read().decode()


def require_sha256(path: str, sha256: str | None) -> None:
    """Raise an InputError if an archive is not the one with this checksum.

    Args:
        sha256: None if the config gives none; then nothing is checked.
    """
    if sha256 is None:
        return
    file = find_manifest(path)
    if file.name == MANIFEST:
        raise InputError(f"config: atlas: sha256 is of {ARCHIVE}, and {path!r} is an unpacked bundle; leave it out")
    found = sha256_of(file)
    if found != sha256.lower():
        raise InputError(
            f"config: atlas: {str(file)!r} has the sha256 {found}, and the config says {sha256}; fetch the bundle"
            " again, or correct the config"
        )


def settings_with_atlas(config: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    """Return the settings of a bundle, with what the user's configuration sets itself.

    What a bundle has no right to set is left out, also if somebody has written it into the manifest: paths of this
    machine, and where a run reads, writes and publishes.

    Args:
        config: of the user, with the key atlas.

    Raises:
        InputError: the configuration sets what a bundle fixes.
    """
    if config.get("tune"):
        raise InputError(
            "config: tune: the models of an atlas bundle are trained, and their settings cannot change; leave tune out,"
            " or tune where the atlas is made"
        )
    # A bundle whose authors named no species has one all the same.
    free = OWN_KEYS if "species" in manifest["settings"] else (*OWN_KEYS, "species")
    if fixed := [key for key in config if key not in free]:
        raise InputError(
            f"config: {fixed[0]}: the atlas brings it along, because its labels were measured with it; leave it out."
            f" With atlas, the config may set {listed(OWN_KEYS)}"
        )
    return {**_without_files(manifest["settings"]), **config}


def settings_to_keep(config: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a reference that a bundle keeps: without paths, and without what a run sets itself.

    Args:
        config: of `complete_config`.
    """
    return _without_files({**config, "models": whole_models(config["models"])})


def _without_files(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings without paths, and without what a run sets itself.

    They may be of a manifest, and not validated yet: what is of a wrong type stays, for the validation to refuse.
    """
    kept = {key: FILES.get(key, value) for key, value in settings.items() if key not in OWN_KEYS}
    if isinstance(kept.get("tree"), dict):
        kept["tree"] = {**kept["tree"], "file": None, "update": []}
    for section, cleaned in (("models", _without_start), ("external_labels", _without_map)):
        if isinstance(kept.get(section), dict):
            entries = kept[section].items()
            kept[section] = {name: cleaned(entry) if isinstance(entry, dict) else entry for name, entry in entries}
    return kept


def _without_start(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a model's settings without the files that its training alone read."""
    kept = {key: value for key, value in settings.items() if key != "pretrained"}
    known = MODEL_TYPES.get(str(settings.get("type")))
    for setting in known.files if known else ():
        section, key = setting.split(".")
        if isinstance(kept.get(section), dict) and kept[section].get(key) is not None:
            kept[section] = {name: value for name, value in kept[section].items() if name != key}
    return kept


def _without_map(source: dict[str, Any]) -> dict[str, Any]:
    """Return a source of labels made elsewhere without the path of its map; a bundle has the map itself."""
    return {**source, "map": None} if isinstance(source.get("map"), str) else source


def require_files(manifest: Manifest, wanted: list[str]) -> None:
    """Raise an InputError if a bundle lacks a file that its own settings ask for.

    Args:
        wanted: paths below the folder of the results.
    """
    if missing := [name for name in wanted if name not in manifest["files"]]:
        raise InputError(
            f"config: atlas: the bundle {manifest['name']} {manifest['version']} lacks {listed(missing)}, which its"
            " settings ask for; it was edited, or made by another version: ask for one that target bundle wrote"
        )


def digest_of(manifest: Manifest) -> str:
    """Return a checksum of a bundle's content, in hexadecimal digits: of its manifest, which has those of its files."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
