"""A bundle as a record on Zenodo: a draft, a new version of a record, and its publication.

The state file keeps the number of the deposition. A run that was cut continues with it: no second
deposition is made, and files that have arrived are not sent again.
"""

from functools import partial
from pathlib import Path
from typing import Any

from refatlas.errors import InputError
from refatlas.io.atomic import read_json, write_json
from refatlas.publish.bundle_files import Bundle, SentFile
from refatlas.publish.retries import with_retries
from refatlas.publish.zenodo_api import Deposition, ZenodoApi
from refatlas.publish.zenodo_metadata import marker, record_metadata

Settings = dict[str, Any]


def publish_on_zenodo(api: ZenodoApi, bundle: Bundle, settings: Settings, state: Path) -> dict[str, Any]:
    """Return the record of what is on Zenodo after sending what it lacks.

    Args:
        api: of the Zenodo of `settings`.
        bundle: to publish.
        settings: section publish.zenodo of the config.
        state: file that keeps the deposition; it is made if there is none.

    Raises:
        InputError: Zenodo refuses something, a checksum differs, or the record is published with
            another content.
    """
    metadata = record_metadata(bundle, settings["communities"])
    deposition = _own_deposition(api, bundle, metadata, settings, state)
    sent: list[str] = []
    if deposition["submitted"]:
        _require_same(deposition, bundle)
        print(f"record {deposition['id']} is published with these files: nothing to send")
    else:
        number = deposition["id"]
        sent = _send_files(api, deposition, bundle)
        with_retries(lambda: api.set_metadata(number, metadata), f"metadata of deposition {number}")
        _require_same(with_retries(lambda: api.deposition(number), f"deposition {number}"), bundle)
        if settings["publish"]:
            deposition = _published(api, number)
    return published_record(deposition, bundle, settings, sent)


def _own_deposition(
    api: ZenodoApi, bundle: Bundle, metadata: dict[str, Any], settings: Settings, state: Path
) -> Deposition:
    """Return the deposition of the state file; without one, a draft that an earlier run left, or a new one."""
    known = read_json(state) if state.exists() else {}
    place = f"{api.url} {settings['record'] or 'new'}"
    number = known.get(place)
    if number is not None:
        what = f"deposition {number}, which {state} names"
        try:
            return with_retries(lambda: api.deposition(number), what)
        except InputError as error:
            raise InputError(f"{what}: {error}. If you deleted it, delete {state} to begin again") from None
    what = "new deposition" if settings["record"] is None else f"new version of record {settings['record']}"
    found = with_retries(lambda: _begun(api, bundle, metadata, settings["record"]), what)
    write_json({**known, place: found["id"]}, state)
    print(f"{what}: {found['id']}")
    return found


def _begun(api: ZenodoApi, bundle: Bundle, metadata: dict[str, Any], record: int | None) -> Deposition:
    """Return a draft; that which an attempt left whose answer was lost, if there is one."""
    if record is not None:
        return api.new_version(record)
    wanted = marker(bundle)
    left = [draft for draft in api.drafts() if wanted in draft["metadata"].get("notes", "") and not draft["submitted"]]
    return api.deposition(left[0]["id"]) if left else api.create(metadata)


def _send_files(api: ZenodoApi, deposition: Deposition, bundle: Bundle) -> list[str]:
    """Send the files that a draft lacks, delete those that it should not have, and return the names of those sent."""
    there, sent = checksums(deposition), []
    _delete_others(api, deposition, {file.name for file in bundle.files})
    for file in bundle.files:
        if there.get(file.name) == file.md5:
            print(f"{file.name} is there already")
            continue
        _send(api, deposition, file)
        sent.append(file.name)
    return sent


def _delete_others(api: ZenodoApi, deposition: Deposition, wanted: set[str]) -> None:
    """Delete the files of a draft that are not wanted: of an earlier version."""
    for file in deposition["files"]:
        if file["filename"] not in wanted:
            with_retries(partial(api.delete_file, deposition["id"], file), f"deleting {file['filename']}")


def _send(api: ZenodoApi, deposition: Deposition, file: SentFile) -> None:
    print(f"sending {file.name}, {file.size:,} bytes", flush=True)
    found = with_retries(lambda: api.send_file(deposition, file), f"sending {file.name}")
    _require_checksum(file, found, deposition)


def _published(api: ZenodoApi, number: int) -> Deposition:
    """Return the deposition after its publication."""

    def publish() -> Deposition:
        found = api.deposition(number)
        # The answer to an earlier attempt may have been lost.
        return found if found["submitted"] else api.publish(number)

    return with_retries(publish, f"publication of deposition {number}")


def checksums(deposition: Deposition) -> dict[str, str]:
    """Return the MD5 of a deposition's files by name."""
    return {file["filename"]: file["checksum"].removeprefix("md5:") for file in deposition["files"]}


def _require_same(deposition: Deposition, bundle: Bundle) -> None:
    """Raise an InputError unless a deposition has the files of the bundle and no others."""
    there, number = checksums(deposition), deposition["id"]
    if deposition["submitted"] and there != {file.name: file.md5 for file in bundle.files}:
        raise InputError(
            f"record {number} is published, and the bundle has changed since: published files cannot change. Raise"
            f" bundle: version, and set publish: zenodo: record to {number}, to publish a new version of it"
        )
    for file in bundle.files:
        _require_checksum(file, there.get(file.name, "none"), deposition)
    if len(there) > len(bundle.files):
        raise InputError(f"deposition {number} has files that the bundle lacks: {sorted(there)}; delete them there")


def _require_checksum(file: SentFile, found: str, deposition: Deposition) -> None:
    if found != file.md5:
        raise InputError(
            f"deposition {deposition['id']}: {file.name} arrived with MD5 {found}, but has {file.md5} here: it was"
            " damaged on the way, or changed meanwhile. Nothing was published; run again, which sends it again"
        )


def published_record(deposition: Deposition, bundle: Bundle, settings: Settings, sent: list[str]) -> dict[str, Any]:
    """Return what the results keep of a publication: address, DOI, checksums, and the line for another config."""
    public, number = bool(deposition["submitted"]), deposition["id"]
    doi = deposition.get("doi") or deposition["metadata"].get("prereserve_doi", {}).get("doi")
    website = settings["url"].rstrip("/")
    return {
        "service": "zenodo",
        "published": public,
        "record": number,
        "doi": doi,
        "address": f"{website}/records/{number}" if public else f"{website}/uploads/{number}",
        "name": bundle.manifest["name"],
        "version": bundle.manifest["version"],
        "sha256": bundle.tar.sha256,
        "files": {file.name: file.described() for file in bundle.files},
        "sent": sent,
        "config": f"atlas: {{path: zenodo:{number}, sha256: {bundle.tar.sha256}}}" if public else None,
    }
