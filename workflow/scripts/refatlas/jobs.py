"""How a rule's script runs as a job: everything it prints lands in its log, and its outputs appear whole or not at all."""

import atexit
import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.damage import damage_told
from refatlas.errors import InputError
from refatlas.gpus import own_gpus
from refatlas.limits import full_disk_is_said, lack_of_memory_is_said
from refatlas.provenance import job_record, record_file

# Columns of our own csv tables that hold text, also where it looks like a number or a missing value ("NA", "nan").
TEXT_COLUMNS = ("split", "query", "model", "source", "batch", "label", "truth", "cell", "status")
# The log of the job that this process is, as it was when the job began: its path, device and inode.
_own_log: tuple[Path, int, int] | None = None


def run_job(main: Callable, smk) -> None:
    """Run a rule's script as `run_logged` does, which is the last thing that it does: a process that is the job's own ends."""
    run_logged(main, smk)
    leave(smk)


def leave(smk) -> None:
    """End a process that is this job's own, well, without taking apart what it has imported: that takes a third of a second after anndata, two after scvi-tools."""
    if getattr(sys.modules["__main__"], "snakemake", None) is smk:
        # What Python itself does before it takes modules apart; it has no public name.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run_logged(main: Callable, smk) -> None:
    """Run `main(smk)` with its output, native messages included, in the rule's log, on GPUs of its own, and leave a record of the job beside it; an InputError is said on the screen as well.

    Raises:
        SystemExit: with code 1 after an InputError, whose message then stands alone in the log, without a traceback. A full disk and a lack of memory are told like one.
    """
    started = time.monotonic()
    with output_to(smk.log[0]) as screen:
        print(f"{smk.rule} {' '.join(f'{k}={v}' for k, v in smk.wildcards.items())}".rstrip(), flush=True)
        try:
            with own_gpus(smk.resources.get("gpu", 0)), damage_told(smk.input), lack_of_memory_is_said(smk.rule):
                main(smk)
            write_text(json.dumps(job_record(smk, started), indent=1, default=str), record_file(smk.log[0]))
        except InputError as error:
            # The screen first: with a full disk the log may take no more.
            os.write(screen, f"\nError in {smk.rule}: {error}\n\n".encode(errors="backslashreplace"))
            print(f"Error: {error}", flush=True)
            raise SystemExit(1) from None
        print(f"done in {time.monotonic() - started:.1f} s", flush=True)


@contextmanager
def output_to(log: str) -> Iterator[int]:
    """Send both output streams to a new file while the block runs, at the level of file descriptors so that C libraries follow.

    Yields the descriptor of what was the error stream before.
    """
    global _own_log
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # Not the old file anew: by its log a job knows whether it is still the one that Snakemake waits for.
    Path(log).unlink(missing_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        _own_log = Path(log).absolute(), *_place(os.stat(file.fileno()))
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False) for descriptor in (1, 2))
        try:
            yield saved[1]
        except Exception:
            _print_traceback()
            raise
        finally:
            _own_log = None
            try:
                sys.stdout.flush()
                sys.stderr.flush()
                # What C libraries have printed.
                ctypes.CDLL(None).fflush(None)
            except OSError as error:
                os.write(saved[1], f"{log}: its end could not be written: {error}\n".encode())
            sys.stdout, sys.stderr = streams
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


def _place(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _require_own_log() -> None:
    """Raise a RuntimeError if a later job has begun the log of this one: Snakemake was killed and started again, and this job, perhaps of older settings, is not waited for."""
    if _own_log is None or not _own_log[0].exists():
        return
    if _place(_own_log[0].stat()) != _own_log[1:]:
        raise RuntimeError(f"a later job has begun {_own_log[0]}: this one's results may be of another time, and are not written")


@contextmanager
def whole(path: str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well and the disk has it, remove it otherwise.

    What a killed job left of the same file is removed first. The temporary path is this process's own, so that no other job writes to it, and paths that begin with it are removed too.

    Raises:
        InputError: the disk is full. RuntimeError: a later job makes the same file.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")
    with full_disk_is_said(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_parts(path)
            yield part
            _sync(part)
            _require_own_log()
            part.replace(path)
            _sync(path.parent)
        finally:
            _remove_parts(path)


def _remove_parts(path: Path) -> None:
    """Remove what `whole` has left of a path, in this process or in one that was killed."""
    left = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]{{8}}\.part.*")
    for found in [file for file in path.parent.iterdir() if left.fullmatch(file.name)] if path.parent.is_dir() else ():
        if found.is_dir():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk: without it, a file can be empty after a loss of power."""
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
    """Write a data frame as parquet or csv, as its name says, whole or not at all; the index is kept in parquet only."""
    with whole(path) as part:
        if str(path).endswith(".parquet"):
            frame.to_parquet(part)
        else:
            frame.to_csv(part, index=False)


def read_csv(path: str):
    """Return a csv that `write_table` wrote; text stays text, also if it is "NA" or "nan"."""
    import pandas as pd

    return pd.read_csv(path, converters=dict.fromkeys(TEXT_COLUMNS, str))


def write_tables(tables: dict, folder: str) -> None:
    """Write named tables into a folder: those with a row a cell as parquet, the others as csv with their index; the folder is made also for none."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        by_cell = table.index.name == "cell"
        write_table(table if by_cell else table.reset_index(), f"{folder}/{name}.{'parquet' if by_cell else 'csv'}")


def write_text(text: str, path: str) -> None:
    """Write text to a file, whole or not at all."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(value, path: str) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def read_json(path: str):
    """Return the value that a JSON file holds."""
    return json.loads(Path(path).read_text(encoding="utf-8"))
