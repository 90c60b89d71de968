"""Writes what a model type has to report beyond its latent space.

in:  model.pt and counts.h5ad of the reference, or of a query and then a sample of the reference's counts too, with the
     proteins that all of it measured
out: a folder of tables (those with one row per cell as parquet, others as csv) and figures
"""

from refatlas.io.atomic import write_tables
from refatlas.io.model_counts import read_counts
from refatlas.jobs.run import run_job
from refatlas.models.denoised_proteins import attach_known
from refatlas.models.model_files import load_model
from refatlas.plots import apply_style, save_figure


def main(smk) -> None:
    counts, settings = read_counts(smk.input.counts), smk.params.settings
    reference = read_counts(smk.input.reference) if smk.input.get("reference") else None
    if smk.input.get("proteins"):
        attach_known(reference, smk.input.proteins)
    model = load_model(settings["type"], smk.input.model, counts.copy())
    tables = model.tables(counts, reference, settings)
    write_tables(tables, smk.output.tables)
    apply_style()
    for name, figure in model.figures(tables).items():
        save_figure(figure, f"{smk.output.tables}/{name}.png")
    print("; ".join(f"{name}: {len(table)} rows" for name, table in tables.items()))


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
