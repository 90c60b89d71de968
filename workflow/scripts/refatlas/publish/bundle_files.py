"""The bundle that is published: its files with their checksums, and its manifest."""

import hashlib
import json
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from refatlas.errors import InputError
from refatlas.io.fingerprints import sha256_of

TAR, MANIFEST, CARD = "atlas.tar", "bundle.json", "README.md"
# What the services need of the manifest.
NEEDED = ("name", "version", "license")


@dataclass(frozen=True)
class SentFile:
    """A file on this machine, and its name where it is published.

    Attributes:
        path: of the file.
        name: there.
    """

    path: Path
    name: str

    @cached_property
    def size(self) -> int:
        """Return its size in bytes."""
        return self.path.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """Return its SHA-256, in hexadecimal digits."""
        return sha256_of(self.path)

    @cached_property
    def md5(self) -> str:
        """Return its MD5, in hexadecimal digits: the checksum of Zenodo."""
        return self._digest(hashlib.md5(usedforsecurity=False))

    @cached_property
    def git_blob(self) -> str:
        """Return the id that git gives to its content: the checksum of the Hub for small files."""
        found = hashlib.sha1(usedforsecurity=False)
        found.update(f"blob {self.size}\0".encode())
        return self._digest(found)

    def described(self) -> dict[str, Any]:
        """Return its size in bytes and its SHA-256."""
        return {"bytes": self.size, "sha256": self.sha256}

    def _digest(self, found: Any) -> str:
        with self.path.open("rb") as stream:
            while block := stream.read(2**20):
                found.update(block)
        return found.hexdigest()


@dataclass(frozen=True)
class Bundle:
    """A bundle as `write_bundle` made it.

    Attributes:
        tar: atlas.tar.
        manifest: what bundle.json has.
        files: the tar, bundle.json and README.md.
    """

    tar: SentFile
    manifest: dict[str, Any]
    files: tuple[SentFile, ...]


def read_bundle(tar: str | Path, manifest: str | Path, card: str | Path) -> Bundle:
    """Return the bundle in these files.

    Raises:
        InputError: the manifest lacks something that is published, or is not that of the tar.
    """
    content = Path(manifest).read_bytes()
    try:
        found = json.loads(content)
    except ValueError as error:
        raise InputError(f"{manifest} is not JSON ({error}); run the rule write_bundle again") from None
    missing = [key for key in NEEDED if not (isinstance(found, dict) and found.get(key))]
    if missing:
        raise InputError(
            f"{manifest} has no {missing[0]}, which is published with the atlas; set bundle: {missing[0]} in the config"
        )
    _require_own_manifest(Path(tar), content)
    files = tuple(SentFile(Path(path), name) for path, name in ((tar, TAR), (manifest, MANIFEST), (card, CARD)))
    return Bundle(files[0], found, files)


def _require_own_manifest(tar: Path, manifest: bytes) -> None:
    """Raise an InputError unless bundle.json in the tar is the one beside it."""
    try:
        with tarfile.open(tar, "r:") as file:
            member = file.extractfile(MANIFEST)
            inside = None if member is None else member.read()
    except (tarfile.TarError, KeyError) as error:
        raise InputError(f"{tar} has no readable {MANIFEST} ({error}); run the rule write_bundle again") from None
    if inside != manifest:
        raise InputError(
            f"{MANIFEST} beside {tar} differs from the one in it: one of them was changed; run the rule write_bundle"
            " again"
        )


def print_files(files: "tuple[SentFile, ...] | list[SentFile]", where: str) -> None:
    """Print name, size and SHA-256 of each file."""
    print(f"{where}: {len(files)} files, {sum(file.size for file in files):,} bytes")
    for file in files:
        print(f"  {file.name}  {file.size:,} bytes  sha256 {file.sha256}")
