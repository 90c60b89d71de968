"""Which files a path in a sheet stands for, and whether they change. Light: Snakemake imports it at every start."""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from refatlas.errors import InputError

MTX_FILES = {
    "matrix": ("matrix.mtx.gz", "matrix.mtx"),
    "features": ("features.tsv.gz", "genes.tsv", "features.tsv", "genes.tsv.gz"),
    "barcodes": ("barcodes.tsv.gz", "barcodes.tsv"),
}


def is_mtx(path: str) -> bool:
    """Tell whether a path is a 10x mtx folder, or will be one: a folder that is no zarr, or a name without a file's ending."""
    if os.path.exists(path):
        return os.path.isdir(path) and not any((Path(path) / name).exists() for name in (".zgroup", "zarr.json", ".zattrs"))
    return not path.endswith((".h5ad", ".h5mu", ".h5", ".zarr"))


def mtx_files(folder: str) -> dict[str, str]:
    """Return the paths of a 10x mtx folder's three files: those that exist, or the names that Cell Ranger gives them."""
    found = {}
    for part, names in MTX_FILES.items():
        present = [name for name in names if (Path(folder) / name).exists()]
        found[part] = str(Path(folder) / (present or names)[0])
    return found


def zarr_files(path: str) -> list[str]:
    """Return the files of a zarr that describe its arrays: writing an array writes them. None for what is no folder.

    Without those of arrays in whose names Snakemake would look for placeholders.
    """
    found = (str(Path(folder) / name) for folder, _, names in os.walk(path) for name in names if name in ("zarr.json", ".zarray", ".zattrs", ".zgroup"))
    return sorted(file for file in found if not set("{}<>") & set(file))


def sha256_of(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamps(paths: Iterable[str]) -> dict[str, list[int]]:
    """Return size in bytes and time of change in nanoseconds of files that exist, by path."""
    found = {path: os.stat(path) for path in map(str, paths) if os.path.exists(path)}
    return {path: [status.st_size, status.st_mtime_ns] for path, status in found.items()}


def read_files(reports: list[str]) -> dict[str, list[int]]:
    """Return the stamps of all files in scan.json of datasets or check.json of queries, once they are checked to hold still.

    Raises:
        InputError: of `require_unchanged`.
    """
    found = {path: stamp for report in reports for path, stamp in json.loads(Path(report).read_text(encoding="utf-8"))["files"].items()}
    require_unchanged(found)
    return found


def require_unchanged(recorded: dict[str, list[int]]) -> None:
    """Raise an InputError if a file is not as it was when it was recorded by `stamps`: what was read before and after would not fit together."""
    for path, (size, changed) in recorded.items():
        now = stamps([path]).get(path)
        if now is None:
            raise InputError(f"{path}: the file is no longer there, though this run has read it before; put it back, and run again")
        if now != [size, changed]:
            raise InputError(
                f"{path}: the file changed while this run was going on: it had {size:,} bytes of {_time(changed)}, and now has {now[0]:,} bytes of {_time(now[1])}; "
                "run again when it is complete: what was made of it before is made anew"
            )


def require_past(paths: Iterable[str], leeway: float = 60) -> None:
    """Raise an InputError if a file's time of change is in the future by more than `leeway` seconds: results would always be older than it, and never up to date."""
    for path, (_, changed) in stamps(paths).items():
        if changed / 1e9 > time.time() + leeway:
            raise InputError(f"{path}: its time of change, {_time(changed)}, is in the future; correct this machine's clock, or the file's time (touch {path!r})")


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).isoformat(" ", "milliseconds")
