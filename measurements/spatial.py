"""Held-out accuracy of the methods that place cells in a tissue, on a simulated one and on a lymph node.

    python measurements/spatial.py DATA

DATA is the folder with visium_1000spots_2000g.h5ad and scref_330c_10237g.h5ad (1,000 spots and 330 cells of a lymph
node). Each line says what was held out, and has the accuracy with its standard error; the last column is the share of
simulated query cells that the method, fitted to all spots, places in their own layer.
"""

import resource
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from refatlas.spatial.held_out import choose, hold_out
from refatlas.spatial.placing import Placer, place
from refatlas.spatial.regions import partitions
from refatlas.spatial.spots import Spots
from simulated_tissue import query_of, simulated_cells_of, simulated_tissue

METHODS = ["sagenet", "logistic_regression", "knn"]
DEFAULTS = {"methods": METHODS, "n_genes": 100, "epochs": 10, "folds": 5, "quantile": 0.05}


def lymph_node(folder: Path) -> Spots:
    """Return the spots in the genes that the cells of the same node have."""
    data, cells = (ad.read_h5ad(folder / f"{name}.h5ad") for name in ("visium_1000spots_2000g", "scref_330c_10237g"))
    genes = data.var_names.intersection(cells.var_names)
    counts, xy = sparse.csr_matrix(data[:, genes].X), np.asarray(data.obsm["spatial"], dtype=float)
    return Spots(counts, genes, list(genes), data.obs_names, xy, np.full(len(xy), ""), None)


def measure(name: str, spots: Spots, grids: list[int], held_out: str, with_cells: bool = False) -> None:
    """Print the accuracy of each method on held-out spots, and the seconds of each in all folds."""
    settings = DEFAULTS | {"held_out": held_out}
    parts, started = partitions(spots, grids), time.monotonic()
    held = hold_out(spots, parts, settings, seed=0)
    print(f"{name}, {held_out} held out: {time.monotonic() - started:.0f} s")
    for part in parts:
        choice = choose(part, held, spots, settings)
        for row in choice.scores:
            line = (
                f"  {part.name:8} {row['method']:20} {row['accuracy']:.3f} ± {row['accuracy_se']:.3f}"
                f"  chance {row['chance']:.3f}  log loss {row['log_loss']:.3f}  {row['identifiable']}"
            )
            if with_cells:
                choice.method = row["method"]
                placer = Placer.fit(spots, [part], [choice], held, settings, seed=0)
                counts, truth = simulated_cells_of()
                found = place(placer, query_of(counts), 0.75, "cells")
                regions = np.array(part.regions)[found.probabilities[0].argmax(axis=1)]
                line += f"  cells {np.mean(regions == truth):.3f}"
            print(line + ("  (chosen)" if row["chosen"] else ""), flush=True)


def main(folder: Path) -> None:
    """Print all."""
    pd.set_option("display.width", 200)
    measure("simulated, 4 layers", simulated_tissue(), [], "blocks", with_cells=True)
    quarters = simulated_tissue(layers=2, bands=2)
    quarters.regions = None
    measure("simulated, genes along x and y", quarters, [2], "blocks")
    for held_out in ("blocks", "spots"):
        measure("lymph node", lymph_node(folder), [2, 3], held_out)
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
