"""Decodes the cells of one batch as if they were of another, and says by label how far that is supported.

A statistical probe of what the model has learned, and no causal claim.

in:  check.json; model.pt of the reference or of a query, and its counts; the counts of the decoded cells;
     cells.parquet of the datasets, and a query's cells.parquet and labels.csv; latent.parquet of both
out: expression.h5ad (X: as of the other batch; layer normalized: as of their own), support.csv, changes.csv
"""

from refatlas.evaluate.counterfactual import PROBE, labelled_cells, latent_rows, read_both, support_table
from refatlas.io.atomic import read_json, write_table
from refatlas.jobs.inputs import by_name
from refatlas.jobs.run import run_job


def main(smk) -> None:
    from refatlas.evaluate.counterfactual_file import write_counterfactual
    from refatlas.models.expression import Decoder

    i, p, pair = smk.input, smk.params, smk.params.pair
    ends = (pair["from"], pair["to"])
    cells = labelled_cells(
        *read_both(by_name(i, "dataset_cells").values(), i.get("query_cells"), i.get("query_labels")), ends
    )
    latent, found = latent_rows([i.latent, *([i.query_latent] if i.get("query_latent") else [])], cells.index)
    support = support_table(latent, cells.loc[found], ends, p.seed, smk.threads)
    decoder = Decoder(i.model, i.model_counts, p.n_samples, p.seed)
    genes, facts = read_json(i.check)["genes"], {"model": p.model, **dict(zip(("from", "to"), ends, strict=True))}
    changes, table = write_counterfactual(smk.output.cells, decoder, i.counts, genes, cells["label"], facts)
    support = support.join(changes.stability()).reset_index().assign(about=PROBE)
    write_table(support, smk.output.support)
    supported = table["label"].map(support.set_index("label")["supported"])
    write_table(table.assign(supported=supported, about=PROBE), smk.output.changes)
    print(f"supported: {', '.join(support.loc[support['supported'], 'label']) or 'no label'}", PROBE, sep="\n")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
