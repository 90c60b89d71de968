"""Reads which genes, batches, labels and proteins a pretrained model knows.

in:  its model.pt
out: pretrained.json: class, genes in its order, batches, labels, proteins
"""

from refatlas.io.atomic import write_json
from refatlas.jobs.run import run_job
from refatlas.models.pretrained import pretrained_facts, read_saved, require_usable
from refatlas.models.registry import MODEL_TYPES


def main(smk) -> None:
    saved = read_saved(smk.input.model, smk.params.sha256)
    require_usable(saved, MODEL_TYPES[smk.params.kind].pretrained, smk.input.model)
    found = pretrained_facts(saved)
    counted = ", ".join(f"{len(found[key])} {key}" for key in ("genes", "batches", "labels", "proteins"))
    print(f"{found['class']}: {counted}")
    write_json(found, smk.output.facts)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
