"""Writes the next version of an atlas bundle, in which the cells of labelled queries vote. Nothing is trained.

in:  the files of the bundle; of each query cells.parquet, counts.h5ad, check.json, and by each model latent.parquet and
     umap.parquet
out: atlas.tar; bundle.json and README.md, which it has too
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from refatlas.bundle.archive import manifest_text, write_archive
from refatlas.bundle.content import grown_manifest
from refatlas.bundle.growth import DATASET, QueryFiles, grow
from refatlas.bundle.model_card import model_card
from refatlas.bundle.portable import portable_files
from refatlas.io.atomic import write_text
from refatlas.jobs.inputs import by_name, by_name_and_kind, by_two_names
from refatlas.jobs.run import print_on_screen, run_job


def main(smk) -> None:
    i, p, out = smk.input, smk.params, smk.output
    latents, umaps, files = by_two_names(i, "latent"), by_two_names(i, "umap"), by_name(i, "file")
    queries = {
        query: QueryFiles(**paths, latents=latents[query], umaps=umaps[query])
        for query, paths in by_name_and_kind(i, "cells", "counts", "check").items()
    }
    with TemporaryDirectory(dir=Path(out.archive).parent, prefix=".grow.") as work:
        simulated = p.atlas["counts"] == "simulated"
        changed = grow(Path(work), queries, files, p.cells, p.sample, p.seed, simulated=simulated)
        content = portable_files({**files, **changed})
        cells = {query: changed[DATASET.format(query, p.cells)] for query in queries}
        manifest = grown_manifest(p.atlas, content, cells, p.rows, p.version, p.get("about", {}))
        card = model_card(manifest)
        write_archive(out.archive, content, manifest, card)
    write_text(manifest_text(manifest), out.manifest)
    write_text(card, out.card)
    if manifest["counts"] != p.atlas["counts"]:
        print_on_screen("The next version has the counts of a sample of cells; those of all stay with the one before")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
