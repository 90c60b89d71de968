"""Where an atlas bundle comes from: a path, or an address on the Hugging Face Hub, on Zenodo or on any server.

Light: Snakemake imports it at every start. Only what is not in the cache yet is asked for.
"""

import os
import re
from typing import Any

from refatlas.bundle.manifest import ARCHIVE
from refatlas.errors import InputError, shown
from refatlas.remote.addresses import Address, cache_folder, cached_path, check_sha256, parse_address

HUB_URL, ZENODO_URL = "https://huggingface.co", "https://zenodo.org"
# They take the places of both, for mirrors; the first is huggingface_hub's own.
HUB_VARIABLE, ZENODO_VARIABLE = "HF_ENDPOINT", "REFATLAS_ZENODO_URL"
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
    address = atlas_address(setting["path"])
    sha256 = check_sha256(str(setting["sha256"] or ""), "config: atlas")
    cached = cached_path(cache_folder(), sha256, ARCHIVE) if sha256 else None
    if cached is not None and cached.is_file():
        return str(cached)
    if not may_fetch:
        raise InputError(
            f"config: atlas: {address.safe} is not in the cache ({cache_folder()}), and a dry run asks no server; start"
            " the run: it fetches the atlas first"
        )
    # It takes a while to import, and a run whose atlas is there does without it.
    from refatlas.remote.fetched import fetch, refuse_unchecked

    if sha256 is None:
        refuse_unchecked(address, "config: atlas", "the config, beside atlas: {path: …, sha256: …}")
    return str(fetch(address, str(sha256)))
