"""Trains one model on the reference, or takes one that was made elsewhere.

in:  counts.h5ad of the split; for a model with init_from, the model that it starts from; the pretrained model, if the config names one
out: model.pt and its checksum, training.csv (one row an epoch), latent.parquet (of every reference
cell), training.md (the record, to read)
"""

import time
from pathlib import Path

from refatlas.io.atomic import write_table, write_text
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import read_counts
from refatlas.io.row_reader import on_disk
from refatlas.models.checkpoints import checkpoints_of
from refatlas.models.interface import train_again_if_not_finite
from refatlas.models.model_files import save_model
from refatlas.models.multi_gpu import fit_on_multiple_gpus
from refatlas.models.pretrained import read_saved
from refatlas.models.registry import MODEL_TYPES
from refatlas.models.training import load_base, record, require_labels, require_proteins
from refatlas.resources import stays_on_disk


def main(smk) -> None:
    gpus = smk.params.spec.get("gpus", 1)
    spec = {**smk.params.spec, "seed": smk.params.seed, "threads": max(smk.threads // gpus, 1)}
    name, kind = smk.wildcards.model, smk.params.spec["type"]
    from_disk = "never" if gpus > 1 else smk.params.from_disk
    counts = read_counts(
        smk.input.counts, stays_on_disk(name, kind, smk.input.counts, from_disk, smk.resources.mem_mb // gpus)
    )
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
            return fit_on_multiple_gpus(kind, smk.input.counts, counts, spec)
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
