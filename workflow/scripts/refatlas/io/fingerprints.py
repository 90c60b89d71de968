"""Sizes, modification times and checksums of files, and whether files change.

Light: Snakemake imports it at every start.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from refatlas.errors import InputError

# Bytes of a block, and blocks, that are read of a large file to recognise it.
BLOCK, N_BLOCKS = 2**16, 64


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sampled_sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file's size, ends and evenly spaced blocks, in hexadecimal digits.

    It tells files apart that were made differently: reading a large one whole would take seconds. A
    parquet file's end has the least and the largest value of each column, and their compressed sizes. A file
    of up to N_BLOCKS blocks is read whole.
    """
    size, found = os.path.getsize(path), hashlib.sha256()
    found.update(str(size).encode())
    step = max((size - BLOCK) / (N_BLOCKS - 1), BLOCK)
    with Path(path).open("rb") as stream:
        for i in range(N_BLOCKS):
            stream.seek(int(i * step))
            found.update(stream.read(BLOCK))
    return found.hexdigest()


def fingerprints(paths: Iterable[str]) -> dict[str, list[int]]:
    """Return size (bytes) and modification time (ns) of the files that exist, by path."""
    found = {path: os.stat(path) for path in map(str, paths) if os.path.exists(path)}
    return {path: [status.st_size, status.st_mtime_ns] for path, status in found.items()}


def read_fingerprints(reports: Iterable[str]) -> dict[str, list[int]]:
    """Return the fingerprints of all files in scan.json or check.json, which must be unchanged.

    Args:
        reports: paths of scan.json of datasets, or check.json of queries.

    Raises:
        InputError: a file has changed, or is gone.
    """
    found = {
        path: stamp
        for report in reports
        for path, stamp in json.loads(Path(report).read_text(encoding="utf-8"))["files"].items()
    }
    require_unchanged(found)
    return found


def require_unchanged(recorded: dict[str, list[int]]) -> None:
    """Raise an InputError if a file is not as it was when `fingerprints` recorded it.

    What was read before and after the change would not fit together.
    """
    for path, (size, changed) in recorded.items():
        now = fingerprints([path]).get(path)
        if now is None:
            raise InputError(
                f"{path}: the file does not exist any more, but this run has read it before; restore it, and run again"
            )
        if now != [size, changed]:
            raise InputError(
                f"{path}: the file changed during this run: it had {size:,} bytes, last modified {_time(changed)}, and"
                f" now has {now[0]:,} bytes, last modified {_time(now[1])}; run again when it is complete: results of"
                " the old file are computed again"
            )


def require_not_in_future(paths: Iterable[str], leeway: float = 60) -> None:
    """Raise an InputError if a file was modified more than `leeway` seconds in the future.

    Results would always be older than such a file, and never up to date.
    """
    for path, (_, changed) in fingerprints(paths).items():
        if changed / 1e9 > time.time() + leeway:
            raise InputError(
                f"{path}: its modification time, {_time(changed)}, is in the future; correct this machine's clock, or"
                f" the file's time (touch {path!r})"
            )


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).isoformat(" ", "milliseconds")


def checksums(paths: Iterable[str]) -> dict[str, dict]:
    """Return sha256, size in bytes and modification time (UTC, ISO 8601) of files, by path."""
    found = {}
    for path in map(str, paths):
        status = os.stat(path)
        modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
        found[path] = {"sha256": sha256_of(path), "bytes": status.st_size, "modified": modified}
    return found
