"""What the rules ask for: memory, run time and GPUs."""

import os
from pathlib import Path

from refatlas.errors import InputError, listed
from refatlas.io.model_counts import memory_mb
from refatlas.models.registry import MODEL_TYPES

# What imports take, and how often training holds the counts: some types concatenate or convert
# them.
IMPORTED_MB, COPIES = 1500, 1.5
FROM_DISK = [kind for kind, known in MODEL_TYPES.items() if known.from_disk]


def stays_on_disk(name: str, kind: str, path: str, from_disk: str, mem_mb: int) -> bool:
    """Return whether a model trains on counts that stay in their file, and say why; warn where a
    type that cannot may run out of memory.

    Args:
        from_disk: auto, always or never. mem_mb: memory of the job.

    Raises:
        InputError: the counts are larger than the machine's memory, and cannot or must not stay on
            disk.
    """
    counts, allowed = memory_mb(path), min(mem_mb, machine_mb())
    needed, can = IMPORTED_MB + COPIES * counts, MODEL_TYPES[kind].from_disk
    if can and (from_disk == "always" or (from_disk == "auto" and needed > allowed)):
        print(
            f"trains from disk: in memory it would take about {needed:,.0f} MB, {allowed:,.0f} MB are allowed"
            f" (memory.from_disk: {from_disk})",
            flush=True,
        )
        return True
    if counts > machine_mb():
        remedy = (
            "set memory.from_disk to auto, and gpus to 1"
            if can
            else (
                "take fewer genes (genes.n_top), a machine with more memory, or a type that trains from disk:"
                f" {listed(FROM_DISK)}"
            )
        )
        raise InputError(
            f"config: models: {name}: the counts take {counts:,.0f} MB, and this machine has {machine_mb():,.0f} MB;"
            f" {remedy}"
        )
    if needed > allowed:
        print(
            f"Warning: {name}: training takes about {needed:,.0f} MB, and {allowed:,.0f} MB are allowed;"
            f" {listed(FROM_DISK)} train from disk, type {kind} loads all counts",
            flush=True,
        )
    return False


def machine_mb() -> float:
    """Return the memory of this machine, or of the container that the job runs in, in MB."""
    limit = Path("/sys/fs/cgroup/memory.max")
    found = limit.read_text().strip() if limit.exists() else "max"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(physical, physical if found == "max" else int(found)) / 1e6
