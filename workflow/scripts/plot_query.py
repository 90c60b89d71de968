"""Figure of one query over the reference, for each model: by label, by confidence, and by true
label where it is known.

in:  umap.parquet of reference and query and labels.parquet, for each model; the query's cells.parquet
out: a PNG
"""

import pandas as pd

from refatlas.io.cell_tables import read_values
from refatlas.plots import save
from refatlas.report.query_figure import draw_query


def main(smk) -> None:
    models = {
        model: {"reference": read_values(reference), "query": pd.read_parquet(query), "labels": pd.read_parquet(labels)}
        for model, reference, query, labels in zip(
            smk.params.models, smk.input.reference, smk.input.umaps, smk.input.labels, strict=True
        )
    }
    save(draw_query(smk.wildcards.query, models, pd.read_parquet(smk.input.cells)), smk.output.umap)


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
