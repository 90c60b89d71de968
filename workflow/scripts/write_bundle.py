"""Writes the atlas bundle: all that queries are mapped with, and a model card of what was measured.

in:  the results of the reference that jobs of queries read, by their path below the folder of the results; the cells of
     the datasets; scores of the folds, and integration.csv
out: atlas.tar; bundle.json and README.md, which it has too
"""

from refatlas.bundle.archive import manifest_text, write_archive
from refatlas.bundle.content import bundle_manifest, measured_facts
from refatlas.bundle.facts import criticism_facts
from refatlas.bundle.model_card import model_card
from refatlas.bundle.portable import portable_files
from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    i, p, out = smk.input, smk.params, smk.output
    paths = by_name(i, "file")
    files = portable_files(paths)
    scores, label_scores = (list(by_name(i, f"held_out_{kind}").values()) for kind in ("scores", "label_scores"))
    facts = measured_facts(by_name(i, "dataset_cells"), scores, label_scores, i.integration)
    facts |= criticism_facts(paths.get("evaluation/criticism.csv"))
    manifest = bundle_manifest(files, facts, i.genes, dict(p.fixed))
    card = model_card(manifest)
    write_archive(out.archive, files, manifest, card)
    write_text(manifest_text(manifest), out.manifest)
    write_text(card, out.card)
    print(f"{len(files)} files, {sum(f['bytes'] for f in manifest['files'].values()) / 1e6:,.1f} MB")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
