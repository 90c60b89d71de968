"""Measures how a query, or the cells that a fold holds out, compare with the reference that they
were mapped onto.

in:  counts.h5ad of reference and query; genes.parquet; cells of the query; each model's latent spaces, fit.parquet and mapping.json; the baseline's
     model.pt; delivered.parquet
out: measures.json: the measures of the query, and of each of its batches as if it were a query
"""

import numpy as np
import pandas as pd

from refatlas.evaluate.query_measures import MIN_BATCH_CELLS, Measurer, draw_reference
from refatlas.io.atomic import read_json, write_json
from refatlas.io.model_counts import read_counts
from refatlas.models.model_files import load_model
from refatlas.models.registry import BASELINE


def main(smk) -> None:
    seed, counts = smk.params.seed, read_counts(smk.input.query)
    reference, labels = draw_reference(smk.input.reference, seed)
    cells = pd.read_parquet(smk.input.cells).loc[counts.obs_names]
    models = {
        model: {
            "reference": pd.read_parquet(smk.input.reference_latents[i]).loc[reference.obs_names].to_numpy(),
            "query": pd.read_parquet(smk.input.latents[i]).loc[counts.obs_names].to_numpy(),
            "fit": pd.read_parquet(smk.input.fits[i]).loc[counts.obs_names],
            "mapping": read_json(smk.input.mappings[i]),
        }
        for i, model in enumerate(smk.params.models)
    }
    linear = load_model(BASELINE, smk.input.baseline)
    delivered = pd.read_parquet(smk.input.delivered).loc[counts.obs_names]
    measurer = Measurer(reference, counts, cells, delivered, models, linear, seed)
    batches = cells["batch"].value_counts()
    found = {
        "query": measurer.measure(np.ones(len(cells), dtype=bool)),
        "batches": {
            batch: measurer.measure((cells["batch"] == batch).to_numpy())
            for batch, n in batches.items()
            if n >= MIN_BATCH_CELLS
        },
        "absent_labels": sorted(labels - set(delivered["label"])),
    }
    write_json(found, smk.output.measures)
    for name, value in found["query"].items():
        print(f"{name}: {value if value is None else round(value, 4)}")


if "snakemake" in globals():
    run_job(main, snakemake)  # noqa: F821
