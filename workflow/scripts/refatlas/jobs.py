"""How a rule's script runs as a job: everything it prints lands in its log, and its outputs appear whole or not at all."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from refatlas.damage import damage_told
from refatlas.errors import InputError
from refatlas.gpus import own_gpus
from refatlas.provenance import job_record, record_file

# Columns of our own csv tables that hold text, also where it looks like a number or a missing value ("NA", "nan").
TEXT_COLUMNS = ("split", "query", "model", "source", "batch", "label", "truth", "cell", "status")


def run_job(main: Callable, smk) -> None:
    """Run `main(smk)` with its output, native messages included, in the rule's log, on GPUs of its own, and leave a record of the job beside it; an InputError is said on the screen as well.

    Raises:
        SystemExit: with code 1 after an InputError, whose message then stands alone in the log, without a traceback.
    """
    started = time.monotonic()
    with output_to(smk.log[0]) as screen:
        print(f"{smk.rule} {' '.join(f'{k}={v}' for k, v in smk.wildcards.items())}".rstrip(), flush=True)
        try:
            with own_gpus(smk.resources.get("gpu", 0)), damage_told(smk.input):
                main(smk)
        except InputError as error:
            print(f"Error: {error}", flush=True)
            os.write(screen, f"\nError in {smk.rule}: {error}\n\n".encode(errors="backslashreplace"))
            raise SystemExit(1) from None
        write_text(json.dumps(job_record(smk, started), indent=1, default=str), record_file(smk.log[0]))
        print(f"done in {time.monotonic() - started:.1f} s", flush=True)


@contextmanager
def output_to(log: str) -> Iterator[int]:
    """Send both output streams to a file while the block runs, at the level of file descriptors so that C libraries follow.

    Yields the descriptor of what was the error stream before.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(log, "w", encoding="utf-8") as file:
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
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = streams
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _print_traceback() -> None:
    import traceback

    traceback.print_exc()


@contextmanager
def whole(path: str) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well, remove it otherwise."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        if part.is_dir():
            shutil.rmtree(part)
        part.unlink(missing_ok=True)


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
