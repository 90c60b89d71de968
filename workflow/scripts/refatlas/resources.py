"""Memory, run time and GPUs of the rules' jobs: the one place where they are computed.

Functions for `resources:` are closures over plain settings, with the arguments that Snakemake passes by name.
They are evaluated again right before a job starts. A file that is not there yet counts as empty: within a group of
jobs that travel in one submission, a function that fails because of it would be ignored.
"""

import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from refatlas.config.addresses import MARKER
from refatlas.errors import InputError, listed
from refatlas.io.atomic import read_json
from refatlas.io.counts_size import memory_mb, n_cells_of
from refatlas.models.registry import MODEL_TYPES

# What importing scvi-tools and scArches takes, and how often a model type holds the counts that it loads: some
# concatenate or convert them.
IMPORTED_MB, COPIES = 2000, 1.5
# How often an embedding that was made elsewhere is held: its table, what is taken of it, and a copy of the cells.
EMBEDDING_COPIES = 4
# Counts that stay on disk: the pools of cells that are read ahead, and what is kept of every cell.
POOLS_MB, BYTES_PER_CELL = 500, 300
# Genes that the memory of criticism is computed for: most references select fewer.
CRITICIZED_GENES = 4000
FROM_DISK = [kind for kind, known in MODEL_TYPES.items() if known.from_disk]


def megabytes(paths: Iterable[str]) -> float:
    """Return the size of files in MiB.

    Not Snakemake's input.size_mb, which starts an event loop for each job: half a minute for a thousand queries.
    """
    return sum(_size(path) for path in paths) / 2**20


def _size(path: str) -> int:
    # It links to the counts beside it.
    if os.path.basename(path) == "labelled_counts.h5ad":
        return _size(os.path.join(os.path.dirname(path), "counts.h5ad"))
    # It stands for the file that was fetched, which may not be in the cache any more.
    if path.endswith(MARKER):
        return read_json(path)["bytes"] if os.path.exists(path) else 0
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def scaled_mem_mb(base: float, per_input_mb: float = 0, of: str | None = None) -> Callable:
    """Return the memory of a rule: a base and a multiple of the size of its inputs, doubled at each retry.

    Args:
        of: name of the one input whose size counts; None for all.
    """

    def mem_mb(wildcards, input, attempt):
        return int((base + per_input_mb * megabytes([input[of]] if of else input)) * 2 ** (attempt - 1))

    return mem_mb


def minutes(base: float, per_input_mb: float = 0, of: str | None = None) -> Callable:
    """Return the run time of a rule: a base and a multiple of the size of its inputs, doubled at each retry.

    Args:
        of: name of the one input whose size counts; None for all.
    """

    def runtime(wildcards, input, attempt):
        size_mb = megabytes([input[of]] if of else input) if per_input_mb else 0
        return int((base + per_input_mb * size_mb) * 2 ** (attempt - 1))

    return runtime


def minutes_by_type(models: dict[str, dict], *, on_gpu: Callable, on_cpu: Callable) -> Callable:
    """Return the run time of a rule that trains or applies models: types without use for a GPU are much faster.

    Args:
        models: settings by name. on_gpu, on_cpu: the run times of the two, from `minutes`.
    """

    def runtime(wildcards, input, attempt):
        uses_gpu = MODEL_TYPES[models[wildcards.model]["type"]].uses_gpu
        return (on_gpu if uses_gpu else on_cpu)(wildcards, input, attempt)

    return runtime


def loaded_mb(*counts: str) -> int:
    """Return the memory in MB of a job that applies or trains a model with these files of counts in memory."""
    return math.ceil(IMPORTED_MB + COPIES * sum(_counts_mb(path) for path in counts))


def _counts_mb(path: str) -> float:
    """Return what counts take in memory; a guess by the file's size where it is damaged, which the job will report."""
    try:
        return memory_mb(path)
    except (ImportError, OSError, KeyError):
        return 8 * _size(path) / 1e6


def embeddings_mb(inputs: Any) -> int:
    """Return the memory in MB of the embeddings among the inputs of a job, whose tables do not compress."""
    tables = [path for name, path in inputs.items() if name.startswith("embedding:")]
    return math.ceil(EMBEDDING_COPIES * megabytes(tables))


def streamed_mb(counts: str) -> int:
    """Return the memory in MB of a job that trains a model on counts that stay in their file."""
    try:
        kept_mb = BYTES_PER_CELL * n_cells_of(counts) / 1e6
    except (ImportError, OSError, KeyError):
        kept_mb = _size(counts) / 1e6
    return math.ceil(IMPORTED_MB + POOLS_MB + kept_mb)


def training_mem_mb(models: dict[str, dict], memory: dict[str, Any]) -> Callable:
    """Return the memory of train_reference: counts in memory, once per GPU process, or on disk where the type can.

    Args:
        models: settings by name. memory: the config's `memory`.
    """

    def mem_mb(wildcards, input, attempt):
        settings = models[wildcards.model]
        n_processes = settings.get("gpus", 1)
        # The process that starts the others has imported as much as they do.
        starting_mb = IMPORTED_MB if n_processes > 1 else 0
        embedded_mb = embeddings_mb(input)
        in_memory = (n_processes * loaded_mb(input.counts) + starting_mb + embedded_mb) * 2 ** (attempt - 1)
        on_disk = {"always": True, "never": False}.get(memory["from_disk"], in_memory > memory["max_mb"])
        if on_disk and n_processes == 1 and MODEL_TYPES[settings["type"]].from_disk:
            return (streamed_mb(input.counts) + embedded_mb) * 2 ** (attempt - 1)
        return in_memory

    return mem_mb


def trial_mem_mb(models: dict[str, dict], memory: dict[str, Any]) -> Callable:
    """Return the memory of run_trial: that of a training, and the counts of the held-out cells.

    Args:
        models: settings by name. memory: the config's `memory`.
    """
    train_mb = training_mem_mb(models, memory)

    def mem_mb(wildcards, input, attempt):
        held_out_mb = math.ceil(COPIES * _counts_mb(input.query))
        return train_mb(wildcards, input, attempt) + held_out_mb * 2 ** (attempt - 1)

    return mem_mb


def mapping_mem_mb(models: dict[str, dict]) -> Callable:
    """Return the memory of map_query: it loads the query's counts, and the reference's where the type needs them."""

    def mem_mb(wildcards, input, attempt):
        on_disk = MODEL_TYPES[models[wildcards.model]["type"]].from_disk
        loaded = [input.query] if on_disk else [input.query, input.reference]
        needed_mb = loaded_mb(*loaded) + 2 * megabytes([input.model]) + embeddings_mb(input)
        return int(needed_mb * 2 ** (attempt - 1))

    return mem_mb


def describing_mem_mb() -> Callable:
    """Return the memory of describe_reference and describe_query, which load all counts that they read."""

    def mem_mb(wildcards, input, attempt):
        loaded = [input.counts, *([input.reference] if getattr(input, "reference", None) else [])]
        return loaded_mb(*loaded) * 2 ** (attempt - 1)

    return mem_mb


def criticism_mem_mb(max_cells: int, n_samples: int) -> Callable:
    """Return the memory of criticize_query and criticize_reference: a model, the drawn cells, and one dense block.

    Args:
        max_cells: most cells whose counts are loaded. n_samples: replicates of each cell.
    """

    def mem_mb(wildcards, input, attempt):
        # Of counts, no more than all are loaded; a replicate of a block of 512 cells takes some 20 bytes per gene.
        block_mb = 512 * CRITICIZED_GENES * n_samples * 20 / 1e6
        kept_mb = min(max_cells * CRITICIZED_GENES * 8 / 1e6, COPIES * _counts_mb(input.counts))
        return int((IMPORTED_MB + block_mb + 2 * kept_mb + 2 * megabytes([input.model])) * 2 ** (attempt - 1))

    return mem_mb


def marker_mem_mb(cells: int, n_samples: int) -> Callable:
    """Return the memory of find_model_markers: a model, the drawn cells, and draws of both sides with their pairs.

    Args:
        cells: drawn of each side. n_samples: draws of each side.
    """

    def mem_mb(wildcards, input, attempt):
        # Some twelve arrays of draws × genes are in memory at once, float32 (tests measure it).
        draws_mb = 12 * n_samples * CRITICIZED_GENES * 4 / 1e6
        kept_mb = min(2 * cells * CRITICIZED_GENES * 8 / 1e6, COPIES * _counts_mb(input.counts))
        return int((IMPORTED_MB + draws_mb + 2 * kept_mb + 2 * megabytes([input.model])) * 2 ** (attempt - 1))

    return mem_mb


def machine_mb() -> float:
    """Return the memory of this machine, or of the container that the job runs in, in MB."""
    limit = Path("/sys/fs/cgroup/memory.max")
    found = limit.read_text().strip() if limit.exists() else "max"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(physical, physical if found == "max" else int(found)) / 1e6


def stays_on_disk(name: str, kind: str, path: str, from_disk: str, mem_mb: float) -> bool:
    """Return whether a model trains on counts that stay in their file, and print why.

    Prints a warning where a type that cannot may run out of memory.

    Args:
        name: of the model. kind: its type. path: of the counts. from_disk: auto, always or never.
        mem_mb: memory of the job.

    Raises:
        InputError: the counts are larger than the machine's memory, and cannot or must not stay on disk.
    """
    needed, allowed, can = loaded_mb(path), min(mem_mb, machine_mb()), MODEL_TYPES[kind].from_disk
    if can and (from_disk == "always" or (from_disk == "auto" and needed > allowed)):
        print(
            f"trains from disk: in memory it would take about {needed:,.0f} MB, {allowed:,.0f} MB are allowed "
            f"(memory.from_disk: {from_disk})",
            flush=True,
        )
        return True
    _require_room(name, kind, memory_mb(path))
    if needed > allowed:
        print(
            f"Warning: {name}: training takes about {needed:,.0f} MB, and {allowed:,.0f} MB are allowed; "
            f"{listed(FROM_DISK)} train from disk, type {kind} loads all counts",
            flush=True,
        )
    return False


def _require_room(name: str, kind: str, counts_mb: float) -> None:
    """Raise an InputError if counts that must be loaded are larger than the machine's memory."""
    if counts_mb <= machine_mb():
        return
    remedy = "set memory.from_disk to auto, and gpus to 1"
    if not MODEL_TYPES[kind].from_disk:
        remedy = (
            "take fewer genes (genes.n_top), a machine with more memory, "
            f"or a type that trains from disk: {listed(FROM_DISK)}"
        )
    raise InputError(
        f"config: models: {name}: the counts take {counts_mb:,.0f} MB, "
        f"and this machine has {machine_mb():,.0f} MB; {remedy}"
    )
