"""Atomic writes: a result file is complete or absent. Reads and writes tables, text and JSON."""

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from refatlas.io.exhaustion import report_full_disk

if TYPE_CHECKING:
    import pandas as pd

# Columns of refatlas' own csv tables that hold text, even where it looks like a number or a missing
# value ("NA", "nan"). Numbers of groups stay numbers.
TEXT_COLUMNS = (
    *("split", "query", "model", "source", "batch", "label", "truth", "cell", "status", "set_label"),
    *("lost_labels", "only_clusters", "unit", "node", "suggestion", "symbol", "first", "second"),
)


class JobLog:
    """The log file of the job that this process runs, if any.

    A later job of the same rule and wildcards replaces the file.

    Attributes:
        current: path of the log, and its status when the job started; None outside of a job.
    """

    current: ClassVar[tuple[Path, os.stat_result] | None] = None

    @classmethod
    @contextmanager
    def claim(cls, log: str, descriptor: int) -> Iterator[None]:
        """Make an open file this process's log while the block runs."""
        cls.current = Path(log).absolute(), os.fstat(descriptor)
        try:
            yield
        finally:
            cls.current = None

    @classmethod
    def require_current(cls) -> None:
        """Raise a RuntimeError if a later job has started the same log.

        Then Snakemake was killed and restarted, and does not wait for this job, whose settings may
        be outdated.
        """
        if cls.current is None:
            return
        log, status = cls.current
        if log.exists() and not os.path.samestat(log.stat(), status):
            raise RuntimeError(
                f"a later job has started {log}: the results of this job may be outdated and are not written"
            )


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` at the end of the block.

    It is synced to the disk before it is renamed, and removed if the block raises an error. What a
    killed job left of the same file is removed first. The temporary path belongs to this process, so
    no other job writes to it; files whose paths begin with it are removed, too.

    Raises:
        InputError: the disk is full.
        RuntimeError: a later job makes the same file.
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
    """Remove temporary files of a path, of this process or of one that was killed."""
    left = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]{{8}}\.part.*")
    for found in [file for file in path.parent.iterdir() if left.fullmatch(file.name)] if path.parent.is_dir() else ():
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk.

    Without it, a file can be empty after a power failure.
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


def write_table(frame: "pd.DataFrame", path: str | Path) -> None:
    """Write a data frame atomically, as parquet or csv by the path's suffix.

    The index is written to parquet only.
    """
    with atomic_path(path) as part:
        if str(path).endswith(".parquet"):
            frame.to_parquet(part)
        else:
            frame.to_csv(part, index=False, sep="\t" if str(path).endswith(".tsv") else ",")


def read_csv(path: str | Path) -> "pd.DataFrame":
    """Return a csv that `write_table` wrote; text stays text, even if it is "NA" or "nan"."""
    import pandas as pd

    return pd.read_csv(path, converters=dict.fromkeys(TEXT_COLUMNS, str))


def write_tables(tables: dict[str, "pd.DataFrame"], folder: str | Path) -> None:
    """Write named tables into a folder, which is made even if there are none.

    Tables with one row per cell become parquet, all others csv with the index as columns.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        by_cell = table.index.name == "cell"
        write_table(table if by_cell else table.reset_index(), f"{folder}/{name}.{'parquet' if by_cell else 'csv'}")


def write_text(text: str, path: str | Path) -> None:
    """Write text to a file atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(value: Any, path: str | Path) -> None:
    """Write a value as indented JSON, atomically."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path: str | Path) -> Any:
    """Return the value in a JSON file."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
