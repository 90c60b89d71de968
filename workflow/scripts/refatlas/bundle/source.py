"""Where an atlas bundle comes from: a path, or an address on the Hugging Face Hub, on Zenodo or on any server.

Light: Snakemake imports it at every start. Only what is not in the cache yet is asked for.
"""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refatlas.bundle.manifest import ARCHIVE
from refatlas.config.addresses import Address, cache_folder, cached_path, check_sha256, parse_address
from refatlas.config.sheets import MODELS_VARIABLE
from refatlas.errors import InputError, shown
from refatlas.models.registry import MODEL_TYPES

HUB_URL, ZENODO_URL = "https://huggingface.co", "https://zenodo.org"
# They take the places of both, for mirrors; the first is huggingface_hub's own.
HUB_VARIABLE, ZENODO_VARIABLE = "HF_ENDPOINT", "REFATLAS_ZENODO_URL"
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB = re.compile(r"hf:([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)@([\w./-]+)")
ZENODO = re.compile(r"zenodo:(\d+)")
SCHEMES = ("hf:", "zenodo:", "https://", "http://", "s3://")


def is_atlas_address(path: str) -> bool:
    """Return whether the path of an atlas is an address."""
    return path.lower().startswith(SCHEMES)


def atlas_address(text: str) -> Address:
    """Return the address of a bundle's archive.

    Args:
        text: hf:OWNER/NAME@REVISION, zenodo:RECORD, or an address of https, http or s3.

    Raises:
        InputError: it is none of these.
    """
    where = "config: atlas"
    if text.lower().startswith("hf:"):
        found = HUB.fullmatch(text)
        if not found:
            raise InputError(f"{where}: {shown(text)!r} is not of the form hf:OWNER/NAME@REVISION; give all three")
        return Address(hub_file(found[1], found[2], ARCHIVE), ARCHIVE)
    if text.lower().startswith("zenodo:"):
        found = ZENODO.fullmatch(text)
        if not found:
            raise InputError(f"{where}: {shown(text)!r} is not of the form zenodo:RECORD, with the number of a record")
        base = os.environ.get(ZENODO_VARIABLE, ZENODO_URL).rstrip("/")
        return Address(f"{base}/api/records/{found[1]}/files/{ARCHIVE}/content", ARCHIVE)
    return Address(parse_address(text, where).text, ARCHIVE)


def hub_file(repo: str, revision: str, file: str) -> str:
    """Return the address of a file of a repository on the Hugging Face Hub."""
    base = (os.environ.get(HUB_VARIABLE) or HUB_URL).rstrip("/")
    return f"{base}/{repo}/resolve/{revision}/{file}"


def atlas_path(setting: dict[str, Any], may_fetch: bool) -> str:
    """Return the path of a bundle, which is fetched into the cache if it has an address and is not there yet.

    Args:
        setting: of `atlas_setting`, with path and sha256.
        may_fetch: whether a server may be asked: not in a dry run.

    Raises:
        InputError: the address is none, sha256 is missing, or the bundle cannot be fetched.
    """
    if not is_atlas_address(setting["path"]):
        return str(setting["path"])
    return str(fetched_path(atlas_address(setting["path"]), setting["sha256"], "config: atlas", may_fetch))


def fetched_path(address: Address, sha256: str | None, where: str, may_fetch: bool) -> Path:
    """Return the path of a file in the cache, which is fetched unless it is there.

    Args:
        sha256: that it must have; None if the config gives none.
        where: the config's key, for messages.
        may_fetch: whether a server may be asked: not in a dry run.

    Raises:
        InputError: sha256 is missing, or the file cannot be fetched.
    """
    sha256 = check_sha256(str(sha256 or ""), where)
    cached = cached_path(cache_folder(), sha256, address.file) if sha256 else None
    if cached is not None and cached.is_file():
        return cached
    if not may_fetch:
        raise InputError(
            f"{where}: {address.safe} is not in the cache ({cache_folder()}), and a dry run asks no server; start the"
            " run: it fetches the file first"
        )
    # It takes a while to import, and a run whose files are there does without it.
    from refatlas.remote.fetched import fetch, refuse_unchecked

    if sha256 is None:
        refuse_unchecked(address, where, f"the config, as {where.removeprefix('config: ')}: sha256")
    return fetch(address, str(sha256))


def bundle_of_record(record: Path, digest: str) -> dict[str, Any]:
    """Return path and sha256 of the bundle that a run unpacked before 0.9.2, if it is this one; nothing else.

    Both were compared by Snakemake then, and still are: without them, such a run would map all its queries again.

    Args:
        record: of the job that unpacked it.
        digest: of the bundle's manifest.
    """
    job = _read_record(record)
    path, params = next(iter(job.get("inputs", [])), None), job.get("params", {})
    if path is None or params.get("digest") != digest or not os.path.exists(path):
        return {}
    return {"path": path, "sha256": params.get("sha256")}


def _read_record(path: Path) -> dict[str, Any]:
    """Return the record of a job; nothing if there is none, or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def with_hub_models(
    config: dict[str, Any], fetched: str, logs: str, may_fetch: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a user's configuration with paths of the pretrained models that it names by a repository, and addresses.

    The paths are those of links to the cache, which a job makes. So no result depends on the place of the cache.

    Args:
        fetched: folder of the links to files that are fetched by address.
        logs: folder of the logs, with records of finished jobs.
        may_fetch: whether a server may be asked: not in a dry run.

    Returns:
        The configuration, and the address of each file to fetch by its path below `fetched`.

    Raises:
        InputError: a setting of one is wrong, or its sha256 is missing.
    """
    models, found = config.get("models"), {}
    addresses: dict[str, str] = {}
    if not isinstance(models, dict):
        return config, addresses
    for name, settings in models.items():
        pretrained = settings.get("pretrained") if isinstance(settings, dict) else None
        if not isinstance(pretrained, dict) or not pretrained.get("hub"):
            found[name] = settings
            continue
        address, sha256 = _hub_address(name, settings, may_fetch)
        folder = _folder_of_record(Path(logs) / f"train_reference/reference/{name}.json", address, sha256, may_fetch)
        if folder is None:
            folder = f"{fetched}/{sha256}"
            addresses[f"{sha256}/{address.file}"] = address.text
        kept = {key: value for key, value in pretrained.items() if key not in ("hub", "revision")}
        found[name] = {**settings, "pretrained": {**kept, "path": folder}}
    return {**config, "models": found}, addresses


def hand_over_addresses(addresses: Mapping[str, str]) -> None:
    """Tell jobs where the models of `with_hub_models` are fetched from, beside those of other modules of a workflow."""
    known = json.loads(os.environ.get(MODELS_VARIABLE) or "{}")
    os.environ[MODELS_VARIABLE] = json.dumps({**known, **addresses})


def _hub_address(name: str, settings: dict[str, Any], may_fetch: bool) -> tuple[Address, str]:
    """Return the address of a model of the Hub, and its SHA-256."""
    pretrained, kind = settings["pretrained"], str(settings.get("type"))
    where, revision = f"config: models: {name}: pretrained", pretrained.get("revision")
    if kind in MODEL_TYPES and MODEL_TYPES[kind].saved_by != "scvi-tools":
        raise InputError(
            f"{where}: hub: models of type {kind} are read from a folder that scArches saved; fetch it, and give path"
        )
    if pretrained.get("path"):
        raise InputError(f"{where}: path and hub are both set; keep one of them")
    if not REPO.fullmatch(str(pretrained["hub"])) or not revision:
        raise InputError(
            f"{where}: hub {shown(repr(pretrained['hub']))}, revision {shown(repr(revision))}: give the repository as"
            " OWNER/NAME, and a commit, tag or branch of it as revision"
        )
    address = Address(hub_file(pretrained["hub"], str(revision), "model.pt"), "model.pt")
    sha256 = check_sha256(str(pretrained.get("sha256") or ""), where)
    if sha256 is None:
        fetched_path(address, None, where, may_fetch)
    return address, str(sha256)


def _folder_of_record(record: Path, address: Address, sha256: str, may_fetch: bool) -> str | None:
    """Return the folder of the cache that a finished run before 0.9.2 read a model from; None if there is none.

    Snakemake compares it: with another path, such a run would select genes and train all models again.
    """
    settings = _read_record(record).get("params", {}).get("settings", {})
    pretrained = settings.get("pretrained") or {}
    folder, cached = pretrained.get("path"), cached_path(cache_folder(), sha256, address.file).parent
    if pretrained.get("sha256") != sha256 or not folder or Path(folder).parts[-2:] != cached.parts[-2:]:
        return None
    if folder == str(cached):
        fetched_path(address, sha256, "config: models", may_fetch)
    return folder if (Path(folder) / address.file).is_file() else None
