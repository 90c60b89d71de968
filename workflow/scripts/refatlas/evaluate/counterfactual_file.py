"""The file of counterfactual expression, written block by block, and the changes by label."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from refatlas import __version__
from refatlas.evaluate.counterfactual import KEPT, PROBE, Changes
from refatlas.io.anndata_file import anndata_file, write_facts, write_frame
from refatlas.io.dense_file import DenseWriter
from refatlas.models.expression import CellBlocks, Decoder, thinned
from refatlas.models.expression_file import UNIT, plain_frame


def write_counterfactual(
    path: str, decoder: Decoder, counts: str, genes: list[str], labels: pd.Series, facts: Mapping[str, str]
) -> tuple[Changes, pd.DataFrame]:
    """Write the cells of a batch, decoded as of another; return their changes, and the table of the written genes.

    Args:
        path: of the h5ad. decoder: of the model. counts: path of the cells' counts.
        genes: that are written. labels: by cell; cells without one are written, and in no table.
        facts: for uns["refatlas"], among them the batches "from" and "to".
    """
    cells = CellBlocks(counts)
    rows, columns = cells.rows_of(facts["from"]), cells.var.index.get_indexer(genes)
    obs = cells.obs.iloc[rows]
    own_labels = labels.reindex(obs.index)
    names = sorted(own_labels.dropna().unique())
    codes = pd.Categorical(own_labels, categories=names).codes
    changes = Changes(names, len(cells.var), decoder.seed)
    with anndata_file(path) as file:
        write_frame(file, "obs", plain_frame(obs.assign(label=own_labels.astype(object))))
        write_frame(file, "var", plain_frame(cells.var.iloc[columns]))
        writers = [
            DenseWriter(*place, (len(rows), len(genes))) for place in ((file["layers"], "normalized"), (file, "X"))
        ]
        for start, block in cells.blocks(rows, decoder.block):
            own, thin = (
                tuple(decoder.decode(part, start, batch) for batch in (None, facts["to"]))
                for part in (block, thinned(block, KEPT, decoder.seed + start))
            )
            changes.add(codes[start : start + block.n_obs], own, thin)
            for writer, values in zip(writers, own, strict=True):
                writer.append(values[:, columns])
        for writer in writers:
            writer.finish()
        write_facts(file, {"version": __version__, "unit": UNIT, "about": PROBE, **facts})
    return changes, changes.table(cells.var.iloc[columns].assign(column=np.asarray(columns)))
