"""How a rule's script runs as a job: its log, its GPUs, and its record beside the log."""

import atexit
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import refatlas
from refatlas.cache_folders import use_writable_caches
from refatlas.errors import InputError
from refatlas.io.atomic import JobLog, write_text
from refatlas.io.exhaustion import report_out_of_memory
from refatlas.io.progress_file import announced_progress
from refatlas.jobs.damaged_inputs import report_damaged_inputs
from refatlas.jobs.gpus import own_gpus
from refatlas.jobs.provenance import job_record, record_file
from refatlas.remote.fetched import restore_fetched

Main = Callable[[Any], None]
# The descriptor of the screen while a job's output goes to its log.
_screens: list[int] = []


def run_job(main: Main, smk: Any) -> None:
    """Run a rule's script as `run_logged` does, and end the process if it runs nothing else."""
    run_logged(main, smk)
    exit_quickly(smk)


def exit_quickly(smk: Any) -> None:
    """End this process with success if it runs the job `smk` alone, without unloading modules.

    Unloading takes 0.3 s after an import of anndata, and 2 s after one of scvi-tools.
    """
    if getattr(sys.modules["__main__"], "snakemake", None) is smk:
        # What Python itself does before it unloads modules. It has no public name.
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def run_logged(main: Main, smk: Any) -> None:
    """Run `main(smk)` with all output in the rule's log, and write a record beside the log.

    The log ends with the traceback of an error. After an InputError, a full disk or a lack of
    memory, it ends with the message alone, which is also printed on the screen.

    Raises:
        SystemExit: with code 1, after an InputError.
    """
    started = time.monotonic()
    with redirect_output(smk.log[0]) as screen, _known_screen(screen):
        print(f"{smk.rule} {' '.join(f'{k}={v}' for k, v in smk.wildcards.items())}".rstrip(), flush=True)
        try:
            with report_damaged_inputs(smk.input), report_out_of_memory(smk.rule):
                require_own_package(smk)
                use_writable_caches()
                restore_fetched(smk.input)
                with own_gpus(smk.resources.get("gpu", 0)), announced_progress(smk.log[0]):
                    main(smk)
                record = json.dumps(job_record(smk, started), indent=1, default=str)
                write_text(record, str(record_file(smk.log[0])))
        except InputError as error:
            # The screen first: on a full disk, the log cannot be written.
            os.write(screen, f"\nError in {smk.rule}: {error}\n\n".encode(errors="backslashreplace"))
            print(f"Error: {error}", flush=True)
            raise SystemExit(1) from None
        print(f"done in {time.monotonic() - started:.1f} s", flush=True)


def print_on_screen(text: str) -> None:
    """Print a text where the user runs Snakemake, past the log of the job.

    In a job on another machine, that is the job's own output there.
    """
    if not _screens:
        print(text, flush=True)
        return
    # At once, so that lines of jobs at the same time stay whole. A screen that was closed is no failure.
    with suppress(OSError):
        os.write(_screens[-1], f"{text}\n".encode(errors="backslashreplace"))


@contextmanager
def _known_screen(descriptor: int) -> Iterator[None]:
    _screens.append(descriptor)
    try:
        yield
    finally:
        _screens.pop()


def require_own_package(smk: Any) -> None:
    """Raise an InputError if Python imported another copy of refatlas than the workflow's.

    Snakemake appends the script's folder to Python's search path, so that an installed copy, or one
    in PYTHONPATH, takes precedence.
    """
    folder = getattr(smk, "scriptdir", "")
    beside, imported = Path(folder) / "refatlas", Path(refatlas.__file__).parent
    if folder and beside.is_dir() and not beside.samefile(imported):
        raise InputError(
            f"Python imported refatlas {refatlas.__version__} from {imported}, but this workflow's own copy is"
            f" {beside}; uninstall the other copy (pip uninstall refatlas), or remove its folder from PYTHONPATH"
        )
    wanted = os.environ.get("REFATLAS_VERSION", refatlas.__version__)
    if wanted != refatlas.__version__:
        raise InputError(
            f"the workflow is refatlas {wanted}, but the environment of this job has refatlas"
            f" {refatlas.__version__} ({imported}); install version {wanted} there"
        )


@contextmanager
def redirect_output(log: str) -> Iterator[int]:
    """Send both output streams to a new file while the block runs.

    Output of C libraries and child processes is redirected too.

    Yields:
        The descriptor of the former error stream.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    # A new file, not the old one emptied: by its log a job knows whether Snakemake still waits for
    # it.
    Path(log).unlink(missing_ok=True)
    with open(log, "w", encoding="utf-8") as file, JobLog.claim(log, file.fileno()):
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (_text_stream(descriptor) for descriptor in (1, 2))
        try:
            yield saved[1]
        finally:
            _flush(log, saved[1])
            sys.stdout, sys.stderr = streams
            for descriptor, original in zip((1, 2), saved, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def _text_stream(descriptor: int) -> TextIO:
    return os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _flush(log: str, screen: int) -> None:
    """Write out what Python and C libraries have buffered."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
        ctypes.CDLL(None).fflush(None)
    except OSError as error:
        os.write(screen, f"{log}: the last lines could not be written: {error}\n".encode())
