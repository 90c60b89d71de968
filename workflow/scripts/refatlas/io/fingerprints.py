"""Sizes, times and checksums of files, and whether files change.

Light: Snakemake imports it at every start.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from refatlas.errors import InputError


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprints(paths: Iterable[str]) -> dict[str, list[int]]:
    """Return size in bytes and time of change in nanoseconds of files that exist, by path."""
    found = {path: os.stat(path) for path in map(str, paths) if os.path.exists(path)}
    return {path: [status.st_size, status.st_mtime_ns] for path, status in found.items()}


def read_fingerprints(reports: list[str]) -> dict[str, list[int]]:
    """Return the fingerprints of all files in scan.json of datasets or check.json of queries, once
    they are checked to hold still.

    Raises:
        InputError: of `require_unchanged`.
    """
    found = {
        path: stamp
        for report in reports
        for path, stamp in json.loads(Path(report).read_text(encoding="utf-8"))["files"].items()
    }
    require_unchanged(found)
    return found


def require_unchanged(recorded: dict[str, list[int]]) -> None:
    """Raise an InputError if a file is not as it was when it was recorded by `fingerprints`: what
    was read before and after would not fit together.
    """
    for path, (size, changed) in recorded.items():
        now = fingerprints([path]).get(path)
        if now is None:
            raise InputError(
                f"{path}: the file is no longer there, though this run has read it before; put it back, and run again"
            )
        if now != [size, changed]:
            raise InputError(
                f"{path}: the file changed while this run was going on: it had {size:,} bytes of {_time(changed)}, and"
                f" now has {now[0]:,} bytes of {_time(now[1])}; run again when it is complete: what was made of it"
                " before is made anew"
            )


def require_not_in_future(paths: Iterable[str], leeway: float = 60) -> None:
    """Raise an InputError if a file's time of change is in the future by more than `leeway`
    seconds: results would always be older than it, and never up to date.
    """
    for path, (_, changed) in fingerprints(paths).items():
        if changed / 1e9 > time.time() + leeway:
            raise InputError(
                f"{path}: its time of change, {_time(changed)}, is in the future; correct this machine's clock, or the"
                f" file's time (touch {path!r})"
            )


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).isoformat(" ", "milliseconds")
