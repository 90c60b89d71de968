"""Files that were fetched by address: kept in the cache, linked from the results.

Beside each link stands its marker, a small file that says where its file came from. Jobs depend on
the marker, so that an emptied cache computes nothing again: a job that needs the file fetches it
once more.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from refatlas.config.addresses import MARKER, Address, address_key, cache_folder, cached_path, marker_of, resolve
from refatlas.config.sheets import find_address
from refatlas.errors import InputError
from refatlas.io.atomic import read_json, write_json
from refatlas.io.fingerprints import checksums, sha256_of

# 2000-01-01 in UTC: fetched again, a file is as old as before.
FIXED_TIME = 946_684_800.0


def fetch_linked(address: Address, sha256: str, link: str) -> None:
    """Fetch a file into the cache, link to it, and write the marker.

    Raises:
        InputError: as of `refatlas.remote.download.download`.
    """
    cached = fetch(address, sha256)
    _link(cached, link)
    marker = {
        "address": address.safe,
        "sha256": sha256,
        "bytes": cached.stat().st_size,
    }
    write_json(marker, marker_of(link))
    print(f"{address.safe}: {cached.stat().st_size:,} bytes, SHA-256 {sha256}, in {cached}")


def fetch(address: Address, sha256: str) -> Path:
    """Return the path of a file in the cache, which is fetched unless it is there and right."""
    wanted = cached_path(cache_folder(), sha256, address.file)
    # Fetched from another address, it may have another name.
    others = sorted(wanted.parent.glob("[!.]*")) if wanted.parent.is_dir() and not wanted.exists() else []
    found = next((other for other in others if sha256_of(other) == sha256), None)
    if found is None:
        _download(address, wanted, sha256)
    return found or wanted


def refuse_unchecked(address: Address, place: str, sheet: str) -> None:
    """Fetch a file whose SHA-256 is not known into the cache, and raise an error that names it.

    Raises:
        InputError: always.
    """
    sha256 = _found_before(address) or _fetch_unchecked(address)
    raise InputError(
        f"{place}: {address.safe} has no sha256, so nobody would notice if another file came from there. The file was"
        f" fetched, and is kept: its SHA-256 is {sha256}; write it in column sha256 of {sheet}, and run again"
    )


def _found_before(address: Address) -> str | None:
    """Return the SHA-256 of a file that an earlier run fetched without knowing it, if the cache still has it."""
    note = _note_of(address)
    sha256 = read_json(note)["sha256"] if note.exists() else None
    return sha256 if sha256 and cached_path(cache_folder(), sha256, address.file).exists() else None


def _fetch_unchecked(address: Address) -> str:
    arriving = cache_folder() / "arriving" / address_key(address) / address.file
    sha256 = _download(address, arriving, None)
    cached = cached_path(cache_folder(), sha256, address.file)
    cached.parent.mkdir(parents=True, exist_ok=True)
    arriving.replace(cached)
    write_json({"address": address.safe, "sha256": sha256}, _note_of(address))
    return sha256


def _note_of(address: Address) -> Path:
    return cache_folder() / "addresses" / f"{address_key(address)}.json"


def _download(address: Address, target: Path, sha256: str | None) -> str:
    """Download a file by the library for its address: each takes a while to import."""
    url = resolve(address)
    print(f"downloading {address.safe} to {target}", flush=True)
    if url.lower().startswith("s3://"):
        from refatlas.remote.s3 import download_s3

        return download_s3(url, target, sha256, modified=FIXED_TIME)
    from refatlas.remote.download import download

    return download(url, target, sha256, hub_headers(url), modified=FIXED_TIME)


def hub_headers(url: str) -> dict[str, str]:
    """Return the headers of a request: for the Hugging Face Hub, with the token of HF_TOKEN if there is one."""
    hub = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    token = os.environ.get("HF_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token and url.startswith(f"{hub}/") else {}


def _link(cached: Path, link: str) -> None:
    """Make a link, in place of another one if there is any."""
    Path(link).parent.mkdir(parents=True, exist_ok=True)
    new = f"{link}.{os.getpid()}.part"
    os.symlink(cached, new)
    os.replace(new, link)


def restore_fetched(inputs: Iterable[str]) -> None:
    """Fetch again the files of a job that are not in the cache any more.

    Args:
        inputs: of the job, with the markers of fetched files.

    Raises:
        InputError: a file cannot be fetched.
    """
    for path in {str(path) for path in inputs if str(path).endswith(MARKER)}:
        link = path.removesuffix(MARKER)
        if not os.path.exists(link):
            _restore(link, read_json(path)["sha256"])


def _restore(link: str, sha256: str) -> None:
    """Fetch a file again from the address in the sheet, which may be another one by now."""
    print(f"{link}: not in the cache any more, and fetched again", flush=True)
    address, _, _ = find_address("/".join(Path(link).parts[-2:]))
    _link(fetch(address, sha256), link)


def data_files(paths: Iterable[str]) -> list[str]:
    """Return the files that a job reads: in place of a marker, the link to the file."""
    return [str(path).removesuffix(MARKER) for path in paths]


def origin(path: str) -> str:
    """Return the address that a file was fetched from, without secrets; of another file, its path."""
    marker = Path(marker_of(path))
    return read_json(marker)["address"] if marker.exists() else path


def require_sha256(row: Mapping[str, Any], where: str) -> None:
    """Raise an InputError if a file has another SHA-256 than its row in the sheet.

    A file that was fetched has been compared when it came.
    """
    wanted = row.get("sha256")
    if wanted and not row.get("fetched") and (found := sha256_of(row["path"])) != wanted:
        raise InputError(
            f"{where}: {row['path']} has the SHA-256 {found}, and sha256 in the sheet is {wanted}; is it the right"
            " file? If so, correct sha256"
        )


def sources(paths: Iterable[str]) -> dict[str, dict]:
    """Return the `checksums` of files; those of a fetched one have its address in place of a time."""
    found = checksums(paths)
    for path, known in found.items():
        if (address := origin(path)) != path:
            del known["modified"]
            known["address"] = address
    return found
