"""Atomic writes: a file of results appears complete or not at all.

Tables, text and JSON in and out.
"""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.io.exhaustion import report_full_disk

# Columns of our own csv tables that hold text, also where it looks like a number or a missing value
# ("NA", "nan").
TEXT_COLUMNS = ("split", "query", "model", "source", "batch", "label", "truth", "cell", "status")


class JobLog:
    """The log file of the job that this process runs, if it runs one. A later job of the same rule
    and wildcards replaces the file.

    Attributes:
        current: path and status of the file when the job started, or None.
    """

    current: tuple[Path, os.stat_result] | None = None

    @classmethod
    @contextmanager
    def claim(cls, log: str, descriptor: int) -> Iterator[None]:
        """Take an open file as this process's log while the block runs."""
        cls.current = Path(log).absolute(), os.fstat(descriptor)
        try:
            yield
        finally:
            cls.current = None

    @classmethod
    def require_current(cls) -> None:
        """Raise a RuntimeError if a later job has started the same log.

        Then Snakemake was killed and restarted, and does not wait for this job, which may have
        older settings.
        """
        if cls.current is None:
            return
        log, status = cls.current
        if log.exists() and not os.path.samestat(log.stat(), status):
            raise RuntimeError(
                f"a later job has started {log}: the results of this job may be outdated and are not written"
            )


@contextmanager
def atomic_path(path: str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well and the
    disk has it, remove it otherwise.

    What a killed job left of the same file is removed first. The temporary path is this process's
    own, so that no other job writes to it, and paths that begin with it are removed too.

    Raises:
        InputError: the disk is full. RuntimeError: a later job makes the same file.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")
    with report_full_disk(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_parts(path)
            yield part
            _sync(part)
            JobLog.require_current()
            part.replace(path)
            _sync(path.parent)
        finally:
            _remove_parts(path)


def _remove_parts(path: Path) -> None:
    """Remove what `atomic_path` has left of a path, in this process or in one that was killed."""
    left = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]{{8}}\.part.*")
    for found in [file for file in path.parent.iterdir() if left.fullmatch(file.name)] if path.parent.is_dir() else ():
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk: without it, a file can be empty
    after a loss of power.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot do it for folders.
        if not path.is_dir() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def write_table(frame, path: str) -> None:
    """Write a data frame as parquet or csv, as its name says, whole or not at all; the index is
    kept in parquet only.
    """
    with atomic_path(path) as part:
        if str(path).endswith(".parquet"):
            frame.to_parquet(part)
        else:
            frame.to_csv(part, index=False)


def read_csv(path: str):
    """Return a csv that `write_table` wrote; text stays text, also if it is "NA" or "nan"."""
    import pandas as pd

    return pd.read_csv(path, converters=dict.fromkeys(TEXT_COLUMNS, str))


def write_tables(tables: dict, folder: str) -> None:
    """Write named tables into a folder: those with a row a cell as parquet, the others as csv with
    their index; the folder is made also for none.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        by_cell = table.index.name == "cell"
        write_table(table if by_cell else table.reset_index(), f"{folder}/{name}.{'parquet' if by_cell else 'csv'}")


def write_text(text: str, path: str) -> None:
    """Write text to a file, whole or not at all."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(value, path: str) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path: str):
    """Return the value that a JSON file holds."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
