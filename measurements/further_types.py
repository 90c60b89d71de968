"""Compares drvi and sysvi with scvi: labels of queries by weighted neighbours, after the same number of epochs.

usage: .venv/bin/python measurements/further_types.py CASE DATA [EPOCHS [EVERY]]
    CASE    kang: six of eight donors of PBMC as reference, donors 1039 and 107 as one query; for sysvi, three donors
                each are taken for a system, which they are not
            species: human pancreas and one strain of mouse, without the labels of the mouse, as reference; the other
                strain as query, whose labels are those of the nearest human cells. Also scvi of human cells alone
            atac: the same cells as peaks, which are simulated: see simulated_peaks
    DATA    folder of kang_ctrl_8donors_1287g.h5ad, baron_human_1021c_20125g.h5ad and baron_mouse_988c_14877g.h5ad
    EPOCHS  of training and of surgery (default 30)
    EVERY   use every so many-th cell (default 1: all)
"""

import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from sklearn.metrics import f1_score

from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.transfer.weighted_knn import weighted_knn_table

JOB = JobContext()
N_GENES, K = 2000, 15


def settings(kind: str, epochs: int, systems: dict[str, str] | None) -> dict:
    """Return the settings of a type with so many epochs."""
    found: dict = {"type": kind}
    for section, schema in MODEL_TYPES[kind].settings_schema().items():
        found[section] = {name: setting["default"] for name, setting in schema.items()}
        if "max_epochs" in found[section]:
            found[section]["max_epochs"] = epochs
    return found | ({"systems": systems} if systems and kind == "sysvi" else {})


def stored(cells: ad.AnnData, batch: pd.Series, genes: pd.Index) -> ad.AnnData:
    """Return cells as the workflow stores them, with their labels."""
    x = cells.X.tocsr().astype(np.float32)
    obs = pd.DataFrame({"batch": batch.to_numpy(), "label": cells.obs["cell_type"].astype(str).to_numpy()})
    obs["batch"] = obs["batch"].astype("category")
    obs.index = cells.obs_names.astype(str)
    return ad.AnnData(x, obs=obs, var=pd.DataFrame({"symbol": genes, "measured": True}, index=genes))


def kang(data: Path, every: int) -> tuple[ad.AnnData, ad.AnnData, dict[str, str]]:
    """Return reference, query, and the systems of batches."""
    cells = ad.read_h5ad(data / "kang_ctrl_8donors_1287g.h5ad")
    batch = cells.obs["batch"].astype(str)
    found = stored(cells, batch, cells.var_names)
    held = batch.isin(["1039", "107"]).to_numpy()
    donors = sorted(set(batch[~held]))
    systems = {donor: f"part{i % 2}" for i, donor in enumerate(donors)} | {"1039": "part0", "107": "part1"}
    return found[~held][::every].copy(), found[held][::every].copy(), systems


def species(data: Path, every: int) -> tuple[ad.AnnData, ad.AnnData, dict[str, str]]:
    """Return reference, query, and the systems of batches, on the genes with one orthologue."""
    human = ad.read_h5ad(data / "baron_human_1021c_20125g.h5ad")
    mouse = ad.read_h5ad(data / "baron_mouse_988c_14877g.h5ad")
    mouse = mouse[:, (mouse.var["human"].astype(str) != "").to_numpy()].copy()
    mouse.var_names = pd.Index(mouse.var["human"].astype(str))
    mouse = mouse[:, ~mouse.var_names.duplicated()].copy()
    genes = human.var_names.intersection(mouse.var_names)
    parts = [
        stored(cells[:, genes].copy(), name + ":" + cells.obs["batch"].astype(str), genes)
        for name, cells in (("human", human), ("mouse", mouse))
    ]
    parts[1].obs["label"] = parts[1].obs["label"].astype(object)
    strains = sorted(parts[1].obs["batch"].astype(str).unique())
    held = (parts[1].obs["batch"].astype(str) == strains[-1]).to_numpy()
    reference = ad.concat([parts[0], parts[1][~held]])[::every].copy()
    chosen = reference.copy()
    chosen.obs["species"] = chosen.obs["batch"].astype(str).str.split(":").str[0]
    sc.pp.highly_variable_genes(chosen, flavor="seurat_v3", n_top_genes=N_GENES, batch_key="species", span=1.0)
    keep = chosen.var["highly_variable"].to_numpy()
    reference, query = reference[:, keep].copy(), parts[1][held][::every, reference.var_names[keep]].copy()
    for part in (reference, query):
        part.var["measured"] = True
    reference.obs["batch"] = reference.obs["batch"].astype("category")
    return reference, query, {"human": "human", "mouse": "mouse"}


def simulated_peaks(data: Path, every: int) -> tuple[ad.AnnData, ad.AnnData, dict[str, str]]:
    """Return counts that look like peaks, made of RNA, because no ATAC data are at hand: open where a gene has a count.

    Every gene gives one peak, with a half of its openings taken away at random. No figure of these is one of ATAC.
    """
    reference, query, systems = kang(data, every)
    random = np.random.default_rng(0)
    for part in (reference, query):
        part.X.data = (random.random(len(part.X.data)) < 0.5).astype(np.float32)
        part.X.eliminate_zeros()
    return reference, query, systems


CASES = {"kang": kang, "species": species, "atac": simulated_peaks}
TYPES = {"kang": ("scvi", "sysvi", "drvi"), "species": ("scvi", "sysvi"), "atac": ("scvi", "peakvi")}


def scores(reference: ad.AnnData, query: ad.AnnData, kind: str, epochs: int, systems: dict[str, str]) -> dict:
    """Return time, and how well the labels of labelled reference cells fit the query."""
    started = time.monotonic()
    model = MODEL_TYPES[kind].load_class().fit(reference.copy(), settings(kind, epochs, systems), JOB)
    trained = time.monotonic()
    unlabelled = ad.AnnData(query.X, obs=query.obs[["batch"]].copy(), var=query.var)
    mapped = model.map_query(unlabelled.copy(), settings(kind, epochs, systems), JOB)
    ended = time.monotonic()
    known = reference.obs["known"].to_numpy(dtype=bool)
    latent, placed = model.latent(reference.copy())[known], mapped.latent(unlabelled.copy())
    labels = reference.obs["label"][known].astype(object)
    table = weighted_knn_table(labels, *nearest_neighbors(latent, placed, K), query.obs_names)
    found = table.groupby("cell", sort=False).first()["label"] if "cell" in table else table["label"]
    truth, found = query.obs["label"].astype(str).to_numpy(), found.astype(str).to_numpy()
    seen = np.isin(truth, labels.unique())
    moved = np.abs(mapped.latent(reference[::10].copy()) - model.latent(reference[::10].copy())).max()
    row = {
        "model": kind,
        "training s": trained - started,
        "surgery s": ended - trained,
        "accuracy": (truth[seen] == found[seen]).mean(),
        "macro-F1": f1_score(
            truth[seen], found[seen], average="macro", labels=sorted(set(truth[seen])), zero_division=0
        ),
        "reference moved": moved,
    }
    print(row, flush=True)
    return row


def main() -> None:
    """Run one of the two comparisons."""
    if len(sys.argv) < 3 or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    case, data = sys.argv[1], Path(sys.argv[2])
    epochs, every = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((3, 30), (4, 1)))
    reference, query, systems = CASES[case](data, every)
    human = reference.obs["batch"].astype(str).str.startswith("human")
    reference.obs["known"] = human if case == "species" else True
    rows = [scores(reference, query, kind, epochs, systems) for kind in TYPES[case]]
    if case == "species":
        alone = reference[human.to_numpy()].copy()
        rows.append(scores(alone, query, "scvi", epochs, systems) | {"model": "scvi, human alone"})
    print(f"\n{case}: {reference.n_obs} reference cells, {query.n_obs} of the query, {epochs} epochs\n")
    print(pd.DataFrame(rows).round(3).to_markdown(index=False))


if __name__ == "__main__":
    main()
