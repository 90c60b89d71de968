"""Where an atlas bundle comes from: a path, or an address on the Hugging Face Hub, on Zenodo or on any server.

Light: Snakemake imports it at every start. Only what is not in the cache yet is asked for.
"""

import os
import re
from pathlib import Path
from typing import Any

from refatlas.bundle.manifest import ARCHIVE
from refatlas.config.addresses import Address, cache_folder, cached_path, check_sha256, parse_address
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


def with_hub_models(config: dict[str, Any], may_fetch: bool) -> dict[str, Any]:
    """Return a user's configuration with the paths of pretrained models that it names by a repository.

    They are fetched into the cache, unless they are there.

    Raises:
        InputError: a setting of one is wrong, or it cannot be fetched.
    """
    models = config.get("models")
    if not isinstance(models, dict):
        return config
    found = {name: _with_path(name, settings, may_fetch) for name, settings in models.items()}
    return {**config, "models": found}


def _with_path(name: str, settings: Any, may_fetch: bool) -> Any:
    """Return a model's settings with the path of its pretrained model."""
    pretrained = settings.get("pretrained") if isinstance(settings, dict) else None
    if not isinstance(pretrained, dict) or not pretrained.get("hub"):
        return settings
    where, revision = f"config: models: {name}: pretrained", pretrained.get("revision")
    kind = str(settings.get("type"))
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
    path = fetched_path(address, pretrained.get("sha256"), where, may_fetch).parent
    kept = {key: value for key, value in pretrained.items() if key not in ("hub", "revision")}
    return {**settings, "pretrained": {**kept, "path": str(path)}}
