"""Markers by scVI beside the plain test, on real cells, and what is called among shuffled labels.

    python measurements/model_markers.py DATA train FOLDER [EPOCHS]
    python measurements/model_markers.py DATA compare FOLDER [N_SAMPLES]

DATA is the folder of the test data. `train` draws 4,000 cells of eight donors and trains a scVI on them, into FOLDER,
for 15 epochs or EPOCHS. `compare` prints the agreement of both tests by label, what the model calls among shuffled
labels, seconds and memory.
"""

import resource
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

from contrasts import NO_LIMITS, ROW
from refatlas.annotate.markers import CELL_COLUMNS, MarkerDataset, find_markers
from refatlas.differential.model_markers import agreement, group_names, model_markers, plain_markers, with_plain
from refatlas.io.model_counts import counts_writer, read_counts
from refatlas.io.raw_counts import open_row
from refatlas.models.interface import JobContext
from refatlas.models.marker_model import MarkerModel
from refatlas.models.model_files import save_model
from refatlas.models.registry import MODEL_TYPES
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.genes import merge_genes

N_CELLS, EPOCHS = 4000, 15
SETTINGS = {"delta": 0.25, "fdr": 0.05, "batch_correction": True}


def drawn(data: Path) -> ad.AnnData:
    """Return drawn cells of the eight donors."""
    cells = ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")
    return cells[np.sort(np.random.default_rng(0).permutation(cells.n_obs)[:N_CELLS])].copy()


def train(cells: ad.AnnData, folder: Path, epochs: int) -> None:
    """Write counts and a trained scVI."""
    obs = pd.DataFrame({"batch": "k:" + cells.obs["batch"].astype(str), "label": cells.obs["cell_type"].astype(str)})
    genes = pd.DataFrame({"symbol": cells.var_names, "selected": True}, index=cells.var_names)
    folder.mkdir(parents=True, exist_ok=True)
    with counts_writer(folder / "counts.h5ad", obs, genes) as writer:
        writer.append(cells.X.tocsr())
    schema = MODEL_TYPES["scvi"].settings_schema()
    settings = {section: {name: s["default"] for name, s in part.items()} for section, part in schema.items()}
    settings["train"]["max_epochs"] = epochs
    model = MODEL_TYPES["scvi"].load_class().fit(read_counts(folder / "counts.h5ad"), settings, JobContext(threads=2))
    save_model(model, str(folder / "scvi/model.pt"), {"type": "scvi", **settings})


def plain(cells: ad.AnnData, folder: Path) -> pd.DataFrame:
    """Return the markers of the labels by the plain test on the same cells."""
    cells.write_h5ad(folder / "cells.h5ad")
    row = {**ROW, "path": str(folder / "cells.h5ad")}
    found = scan_file(open_row(row), "k", row, NO_LIMITS, [])
    dataset = MarkerDataset(row, found.cells[CELL_COLUMNS], found.genes)
    markers = find_markers([dataset], merge_genes([found.genes]), found.cells[["label"]], 2000)
    # The model's genes have the names of the file's index.
    return markers.assign(gene=markers["symbol"])


def compare(cells: ad.AnnData, folder: Path, n_samples: int) -> None:
    """Print the agreement of both tests, and what is called among shuffled labels."""
    model = MarkerModel(
        str(folder / "scvi/model.pt"), str(folder / "counts.h5ad"), {**SETTINGS, "n_samples": n_samples}
    )
    symbols, batches = model.cells.var["symbol"].astype(str), model.cells.obs["batch"].to_numpy()
    labels = model.cells.obs["label"].astype(str)
    shuffled = pd.Series(np.random.default_rng(1).permutation(labels), index=labels.index)
    for name, groups in (("labels", labels), ("shuffled labels", shuffled)):
        start = time.monotonic()
        markers, sides = model_markers(model, groups, symbols, 500, seed=0)
        seconds = time.monotonic() - start
        if name == "labels":
            table = with_plain(markers, plain_markers(plain(cells, folder), "label", symbols.index))
            table.to_csv(folder / "markers.csv", index=False)
            agreed = agreement(table, sides, group_names(groups), batches)
            agreed.to_csv(folder / "agreement.csv", index=False)
            print(agreed.drop(columns=["features", "note"]).round(2).to_string(index=False))
        else:
            print(markers.groupby("label")["probability"].describe().round(2).to_string())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        called = f"{int(markers['differs'].sum())} of {len(markers)} called"
        print(f"{name}: {called}; {seconds:.0f} s, peak memory {memory:.0f} MB", flush=True)


if __name__ == "__main__":
    data, task, place, *rest = sys.argv[1:]
    if task == "train":
        train(drawn(Path(data)), Path(place), int(rest[0]) if rest else EPOCHS)
    else:
        compare(drawn(Path(data)), Path(place), int(rest[0]) if rest else 5000)
