"""Trains one model on the reference, or takes one that was made elsewhere.

in:  counts.h5ad of the split; for a model with init_from, the model that it starts from; the pretrained model, if the config names one
out: model.pt and its checksum, training.csv (one row an epoch), latent.parquet (of every reference cell), training.md (the record, to read)
"""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

from refatlas.errors import InputError, listed
from refatlas.jobs import run_job, write_table, write_text
from refatlas.models import MODEL_TYPES
from refatlas.models.checkpoints import checkpoints_of
from refatlas.models.interface import train_again_if_not_finite
from refatlas.models.pretrained import read_saved
from refatlas.models.saved import load_model, save_model
from refatlas.models.several_gpus import fit_on_several_gpus
from refatlas.store import latent_table, memory_mb, on_disk, read_counts, sharing

# What imports take, and how often training holds the counts: some types concatenate or convert them.
IMPORTED_MB, COPIES = 1500, 1.5
FROM_DISK = [kind for kind, known in MODEL_TYPES.items() if known.from_disk]


def load_base(base_type: str | None, file: str | None, counts):
    """Return the model that training starts from, or None."""
    return load_model(base_type, file, sharing(counts)) if file else None


def stays_on_disk(name: str, kind: str, path: str, from_disk: str, mem_mb: int) -> bool:
    """Return whether a model trains on counts that stay in their file, and say why; warn where a type that cannot may run out of memory.

    Args:
        from_disk: auto, always or never. mem_mb: memory of the job.

    Raises:
        InputError: the counts are larger than the machine's memory, and cannot or must not stay on disk.
    """
    counts, allowed = memory_mb(path), min(mem_mb, machine_mb())
    needed, can = IMPORTED_MB + COPIES * counts, MODEL_TYPES[kind].from_disk
    if can and (from_disk == "always" or (from_disk == "auto" and needed > allowed)):
        print(f"trains from disk: in memory it would take about {needed:,.0f} MB, {allowed:,.0f} MB are allowed (memory.from_disk: {from_disk})", flush=True)
        return True
    if counts > machine_mb():
        remedy = (
            "set memory.from_disk to auto, and gpus to 1"
            if can
            else f"take fewer genes (genes.n_top), a machine with more memory, or a type that trains from disk: {listed(FROM_DISK)}"
        )
        raise InputError(f"config: models: {name}: the counts take {counts:,.0f} MB, and this machine has {machine_mb():,.0f} MB; {remedy}")
    if needed > allowed:
        print(
            f"Warning: {name}: training takes about {needed:,.0f} MB, and {allowed:,.0f} MB are allowed; {listed(FROM_DISK)} train from disk, type {kind} loads all counts",
            flush=True,
        )
    return False


def machine_mb() -> float:
    """Return the memory of this machine, or of the container that the job runs in, in MB."""
    limit = Path("/sys/fs/cgroup/memory.max")
    found = limit.read_text().strip() if limit.exists() else "max"
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(physical, physical if found == "max" else int(found)) / 1e6


def require_labels(name: str, kind: str, counts) -> None:
    """Raise an InputError if a type that needs labels finds fewer than two in the reference."""
    if not MODEL_TYPES[kind].needs_labels:
        return
    labels = counts.obs["label"].dropna().unique() if "label" in counts.obs else []
    if len(labels) < 2:
        raise InputError(f"config: models: {name}: type {kind} needs at least two labels in the reference, found {listed(labels)}; set label_key, or take a model without labels")


def require_proteins(name: str, kind: str, counts) -> None:
    """Raise an InputError if a type that needs proteins finds none in the reference."""
    if MODEL_TYPES[kind].needs_proteins and "proteins" not in counts.obsm:
        raise InputError(
            f"config: models: {name}: type {kind} needs proteins, and no cell of the reference has any; set protein_key for datasets that have them, or leave the model out"
        )


def record(name: str, spec: dict, counts, training, seconds: float, artifacts: list[str]) -> str:
    """Return the log of a training in Markdown."""
    loss = training.final_loss()
    batches = counts.obs["batch"].value_counts()
    settings = "\n".join(f"- {section}: " + ", ".join(f"{k} {v}" for k, v in values.items()) for section, values in spec.items() if isinstance(values, dict))
    facts = {
        "type": spec["type"],
        "cells": f"{counts.n_obs:,}",
        "genes": f"{counts.n_vars:,}",
        "batches": f"{len(batches)}: " + listed([f"{b} ({n:,})" for b, n in batches.items()], 20),
        "labels": str(counts.obs["label"].nunique()) if "label" in counts.obs else "none",
        "epochs": str(len(training.history)),
        "final loss": "none (closed form)" if loss is None else f"{loss:.3f} ({training.monitor})",
        "converged": "yes" if training.converged else "no: the loss was still falling when the epochs ended; raise max_epochs",
        "device": training.device,
        "counts": "read from disk" if on_disk(counts.X) else "in memory",
        "seconds": f"{seconds:.1f}",
        "versions": ", ".join(f"{package} {version(package)}" for package in ("scvi-tools", "scarches", "torch", "anndata", "scikit-learn"))
        + f", Python {platform.python_version()}",
        "artifacts": ", ".join(artifacts),
    }
    # Names of batches are the users': no column and no element of HTML begins in them.
    rows = "\n".join(f"| {key} | {value.replace('|', chr(92) + '|').replace('<', '&lt;')} |" for key, value in facts.items())
    notes = "".join(f"\n- {note}" for note in training.notes)
    return f"# Training of {name}\n\n| | |\n|---|---|\n{rows}\n\n## Settings\n{settings}\n- seed: {spec['seed']}\n" + (f"\n## Notes{notes}\n" if notes else "")


def main(smk) -> None:
    gpus = smk.params.spec.get("gpus", 1)
    spec = {**smk.params.spec, "seed": smk.params.seed, "threads": max(smk.threads // gpus, 1)}
    name, kind = smk.wildcards.model, smk.params.spec["type"]
    from_disk = "never" if gpus > 1 else smk.params.from_disk
    counts = read_counts(smk.input.counts, stays_on_disk(name, kind, smk.input.counts, from_disk, smk.resources.mem_mb // gpus))
    # Other cells are held out where counts are read from disk.
    checkpoints = checkpoints_of(smk, {**spec, "from_disk": on_disk(counts.X)})
    require_labels(name, kind, counts)
    require_proteins(name, kind, counts)
    started = time.monotonic()

    def fit(spec):
        if smk.input.get("pretrained"):
            saved = read_saved(smk.input.pretrained, spec["pretrained"]["sha256"])
            return MODEL_TYPES[kind].load_class().from_pretrained(saved, counts, smk.input.pretrained)
        if gpus > 1:
            return fit_on_several_gpus(kind, smk.input.counts, counts, spec)
        base = load_base(MODEL_TYPES[kind].init_from, smk.input.get("base"), counts)
        return MODEL_TYPES[kind].load_class().fit(counts, spec, base)

    model = train_again_if_not_finite(fit, {**spec, "checkpoints": checkpoints})
    model.training.notes += checkpoints.notes
    seconds = time.monotonic() - started
    save_model(model, smk.output.model)
    write_table(model.training.history, smk.output.training)
    write_table(latent_table(model.latent(counts), counts), smk.output.latent)
    artifacts = [Path(path).name for path in (smk.output.model, smk.output.training, smk.output.latent)]
    shown = {key: spec[key] for key in ("type", "seed", "pretrained")} if smk.input.get("pretrained") else spec
    write_text(record(name, shown, counts, model.training, seconds, artifacts), smk.output.record)
    checkpoints.remove()


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
