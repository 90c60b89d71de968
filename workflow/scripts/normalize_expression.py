"""Writes normalised expression of the cells of the reference or of a query, block by block.

in:  check.json; model.pt and the counts that the model was trained on or mapped to
out: an h5ad: X normalised expression for 10,000 counts a cell, float32; uns["refatlas"] says of which model
"""

from refatlas.io.atomic import read_json
from refatlas.jobs.run import run_job


def main(smk) -> None:
    from refatlas.models.expression import Decoder
    from refatlas.models.expression_file import write_normalized

    genes = read_json(smk.input.check)["genes"]
    decoder = Decoder(smk.input.model, smk.input.counts, smk.params.n_samples, smk.params.seed)
    n_cells = write_normalized(smk.output.cells, decoder, smk.input.counts, genes, {"model": smk.params.model})
    print(f"{n_cells} cells × {len(genes)} genes, {decoder.block} cells at a time")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
