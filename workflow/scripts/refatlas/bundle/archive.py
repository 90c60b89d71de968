"""Writing and reading the archive of an atlas bundle, every file by its checksum."""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from refatlas.bundle.manifest import CARD, MANIFEST, Manifest, find_manifest
from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path

BLOCK = 2**20


def manifest_text(manifest: Manifest) -> str:
    """Return a manifest as JSON."""
    return json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"


def checksums_of(files: Mapping[str, "str | Path | bytes"]) -> dict[str, dict[str, Any]]:
    """Return sha256 and size in bytes of the files of a bundle, by name.

    Args:
        files: path or content by name.
    """
    found = {}
    for name, source in sorted(files.items()):
        with _open(source) as stream:
            found[name] = {"sha256": hashlib.file_digest(stream, "sha256").hexdigest(), "bytes": _size(source)}
    return found


def write_archive(path: str, files: Mapping[str, "str | Path | bytes"], manifest: Manifest, card: str) -> None:
    """Write the archive of a bundle: the manifest first, then its description, then the files by name.

    The same files make the same bytes: no times, users or rights are kept.

    Args:
        path: of the new file.
        files: path or content by name.
        card: the description, as Markdown.
    """
    first = {MANIFEST: manifest_text(manifest).encode(), CARD: card.encode()}
    with atomic_path(path) as part, tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, source in [*first.items(), *sorted(files.items())]:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = _size(source), 0o644
            with _open(source) as stream:
                archive.addfile(entry, stream)


def _open(source: "str | Path | bytes") -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")


def _size(source: "str | Path | bytes") -> int:
    return len(source) if isinstance(source, bytes) else Path(source).stat().st_size


def unpack(path: str, manifest: Manifest, targets: Mapping[str, str]) -> None:
    """Write files of a bundle to other places, each only if it has the checksum that the manifest says.

    Args:
        path: of the archive, or of the unpacked bundle.
        targets: where to write each file, by its name in the bundle.

    Raises:
        InputError: the archive is damaged or cut, or a file is missing, or not the one that was bundled.
    """
    with _opened(find_manifest(path)) as content:
        for name, target in targets.items():
            stream = content(name)
            if stream is None:
                raise InputError(f"{path}: the bundle lacks {name}; it is damaged: fetch it again")
            with stream, atomic_path(target) as part:
                _copy_checked(stream, part, manifest["files"][name]["sha256"], f"{path}: {name}")


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Yield a function that returns a stream of a bundle's file by its name; None if there is none.

    Raises:
        InputError: the archive is damaged or cut, also where a stream of it ends too early.
    """
    if file.name == MANIFEST:
        yield lambda name: (file.parent / name).open("rb") if (file.parent / name).is_file() else None
        return
    try:
        with tarfile.open(file, "r:") as archive:
            members = {member.name: member for member in archive.getmembers() if member.isfile()}
            yield lambda name: archive.extractfile(members[name]) if name in members else None
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{file}: the bundle is damaged or cut ({error}): fetch it again") from None


def _copy_checked(stream: IO[bytes], path: Path, sha256: str, where: str) -> None:
    found = hashlib.sha256()
    with Path(path).open("wb") as copy:
        while block := stream.read(BLOCK):
            found.update(block)
            copy.write(block)
    if found.hexdigest() != sha256:
        raise InputError(
            f"{where} has the sha256 {found.hexdigest()}, and the bundle's manifest says {sha256}; the bundle is"
            " damaged or was changed: fetch it again"
        )
