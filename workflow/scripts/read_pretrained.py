"""Reads which genes, batches, labels and proteins a pretrained model knows.

in:  its model.pt, or what scArches saved
out: pretrained.json: class, genes in its order, batches, labels, proteins; of expiMap also its programs
"""

from refatlas.io.atomic import write_json
from refatlas.jobs.run import run_job
from refatlas.models.saved_models import facts_of_usable
from refatlas.remote.fetched import data_files


def main(smk) -> None:
    found = facts_of_usable(smk.params.kind, data_files(smk.input.pretrained), smk.params.sha256)
    counted = ", ".join(f"{len(values)} {key}" for key, values in found.items() if key != "class")
    print(f"{found['class']}: {counted}")
    write_json(found, smk.output.facts)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
