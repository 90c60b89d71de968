"""The tables of models whose features contrasts compare: scores of gene programs, and denoised proteins."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from refatlas.differential.features import where_measured
from refatlas.io.model_counts import read_counts
from refatlas.models.denoised_proteins import measured_proteins

PROTEINS = "proteins"
# The table of each kind of features, in the folder of a model's tables.
FILES = {"programs": "scores.parquet", PROTEINS: "proteins.parquet"}


def read_values(kind: str, tables: Mapping[str, str], counts: Mapping[str, str]) -> pd.DataFrame:
    """Return what a model says of all cells, cells × features, on the scale whose means are compared.

    Scores of programs are taken as they are. Of denoised proteins, log2(1 + counts), missing where the cell's batch
    did not measure the protein: totalVI imputes it there.

    Args:
        kind: "programs" or "proteins" (`compared` of the model's type).
        tables: folder of the model's tables, of the reference and each query.
        counts: of proteins, path of their counts, by the same names.
    """
    parts = []
    for name, folder in tables.items():
        values = pd.read_parquet(Path(folder) / FILES[kind])
        if kind == PROTEINS:
            own = read_counts(counts[name], from_disk=True)
            batches = own.obs["batch"].loc[values.index]
            values = where_measured(np.log2(1 + values), batches, measured_proteins(own))
        parts.append(values)
    return pd.concat(parts)
