"""Labels across species, by capitals alone, by a column of orthologs, and by the bundled table.

usage: .venv/bin/python measurements/species.py PAIR DATA [EPOCHS]
    PAIR    pancreas (human atlas, mouse query) or brain (mouse atlas, human query)
    DATA    folder of the baron and the brain files
    EPOCHS  of scvi, in training and surgery (default 30; 0 leaves the model out)

Prints for each road how many of the selected genes the query has; of the labels that the workflow delivers by the
baseline's sources and three folds accuracy, macro-F1 and ECE on the types that the atlas has, and the estimated
accuracy with its interval and verdict, before the one that the species itself brings; of scvi, accuracy and macro-F1
of the nearest cells' labels (k = 15). In memory, by the functions that the jobs call (trust/pipeline.py).

The column is var['human'] of the mouse file: for the brain, it names the human query's genes as those of mouse.
"""

import contextlib
import io
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.metrics import f1_score

from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES, settings_schema
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.prepare.gene_aliases import current_symbols
from refatlas.prepare.orthologs import translate
from refatlas.transfer.weighted_knn import weighted_knn_table
from trust.delivered import learn_reference
from trust.grade_pairs import ALPHAS, grade
from trust.pipeline import Run, aligned, fit, fitted_folds, map_cells, selected_genes

PAIRS = {
    "pancreas": ("baron_human_1021c_20125g", "human", "baron_mouse_988c_14877g", "mouse"),
    "brain": ("brain_zeisel_mouse_550c_19972g", "mouse", "brain_darmanis_human_329c_22085g", "human"),
}
LEFT_OUT = ("fetal_quiescent", "unassigned", "nan")
K = 15


def read(data: Path, name: str) -> ad.AnnData:
    """Return the cells of a file that have a label, with batch and label."""
    cells = ad.read_h5ad(data / f"{name}.h5ad")
    label = cells.obs["cell_type"].astype(str)
    obs = pd.DataFrame({"batch": cells.obs["batch"].astype(str), "label": label})
    found = ad.AnnData(sparse.csr_matrix(cells.X, dtype=np.float32), obs=obs, var=cells.var)
    return found[~label.isin(LEFT_OUT).to_numpy()].copy()


def named_genes(query: ad.AnnData, reference: ad.AnnData, own: str, other: str) -> dict[str, list]:
    """Return the query's genes as each road names them; None for those that match no gene."""
    names = query.var_names.astype(str)
    mouse = reference.var if own == "mouse" else query.var
    human = mouse["human"].astype(str)
    known = human[(human != "") & ~human.duplicated(keep=False)]
    column = dict(known) if own == "human" else {value: name for name, value in known.items()}
    genes = pd.DataFrame({"gene_id": None, "symbol": names, "name": names}, dtype=object)
    table, _, notes = translate(genes, {"of": other, "to": own, "table": "bundled"}, "the query")
    print("\n".join(notes))
    return {
        "capitals": [name.upper() if own == "human" else name.capitalize() for name in names],
        "column": [column.get(name) for name in names],
        "table": table["symbol"].tolist(),
        "table, previous_symbols": with_previous(genes, reference, own, other),
    }


def with_previous(genes: pd.DataFrame, reference: ad.AnnData, own: str, other: str) -> list:
    """Return the query's genes by the table if genes.previous_symbols is set, as the reference's file names them."""
    if other == "human":
        genes = genes.assign(symbol=current_symbols(genes["symbol"]))
    found = translate(genes, {"of": other, "to": own, "table": "bundled"}, "the query")[0]["symbol"]
    if own != "human":
        return found.tolist()
    names = pd.Series(reference.var_names.astype(str), dtype=object)
    place = dict(zip(current_symbols(names), names, strict=True))
    return [place.get(name) for name in current_symbols(found)]


def query_named(query: ad.AnnData, names: list) -> ad.AnnData:
    """Return a query with the genes of the atlas' species; counts of one gene are summed, as the workflow does."""
    codes, genes = pd.factorize(np.array(names, dtype=object))
    kept = np.flatnonzero(codes >= 0)
    move = sparse.csr_matrix((np.ones(len(kept), np.float32), (kept, codes[kept])), (query.n_vars, len(genes)))
    found = ad.AnnData((query.X @ move).tocsr(), obs=query.obs.copy(), var=pd.DataFrame(index=genes.astype(str)))
    found.obs_names = [f"query:{name}" for name in found.obs_names]
    return found


def scvi_settings(epochs: int) -> dict:
    """Return the defaults of scvi with so many epochs."""
    found: dict = {"type": "scvi"}
    for section, part in settings_schema("scvi")["properties"].items():
        if "properties" in part:
            found[section] = {key: value["default"] for key, value in part["properties"].items() if "default" in value}
    for section in ("train", "surgery"):
        found[section]["max_epochs"] = epochs
    return found


def of_scvi(model, reference: ad.AnnData, query: ad.AnnData, settings: dict) -> dict[str, float]:
    """Return how well labels of the nearest cells in the latent space of scvi fit."""
    bare = ad.AnnData(query.X, obs=query.obs[["batch"]].astype("category"), var=query.var)
    mapped = model.map_query(bare.copy(), settings, JobContext())
    places = nearest_neighbors(model.latent(reference.copy()), mapped.latent(bare.copy()), K)
    table = weighted_knn_table(reference.obs["label"].astype(object), *places, query.obs_names)
    found = table.groupby("cell", sort=False).first()["label"] if "cell" in table else table["label"]
    truth, found = query.obs["label"].to_numpy(str), found.to_numpy(str)
    seen = np.isin(truth, reference.obs["label"].unique())
    f1 = f1_score(truth[seen], found[seen], average="macro", labels=sorted(set(truth[seen])), zero_division=0)
    return {"scvi_accuracy": float((truth[seen] == found[seen]).mean()), "scvi_macro_f1": float(f1)}


def main(pair: str, data: str, epochs: str = "30") -> None:
    """Measure all roads of one pair, and print a table."""
    first, own, second, other = PAIRS[pair]
    whole, query = read(Path(data), first), read(Path(data), second)
    roads = named_genes(query, whole, own, other)
    reference = ad.AnnData(whole.X, obs=whole.obs, var=pd.DataFrame(index=whole.var_names))
    reference = reference[:, selected_genes(reference)].copy()
    reference.obs_names = [f"reference:{name}" for name in reference.obs_names]
    with contextlib.redirect_stdout(io.StringIO()):
        fitted, folds = fit(reference), fitted_folds(reference, 3, 0)
    model, settings = None, scvi_settings(int(epochs))
    if int(epochs):
        shown = reference.copy()
        shown.obs["batch"] = shown.obs["batch"].astype("category")
        shown.var["measured"] = True
        model = MODEL_TYPES["scvi"].load_class().fit(shown.copy(), settings, JobContext())
    learned, rows = None, {}
    for name, names in roads.items():
        started = time.monotonic()
        counts = aligned(query_named(query, names), reference.var_names.to_numpy())
        with contextlib.redirect_stdout(io.StringIO()):
            run = Run(fitted, folds, map_cells(fitted, counts))
            learned = learned or learn_reference(run, ALPHAS)
            found = grade(run, learned)
        row = {"genes": int(counts.var["measured"].sum()), "of": counts.n_vars}
        row |= {key: found[key] for key in ("accuracy", "macro_f1", "ece", "verdict")}
        row |= {key: value for key, value in found.items() if "estimate" in key}
        row |= of_scvi(model, shown, counts, settings) if model else {}
        rows[name] = row
        print(name, row, f"{time.monotonic() - started:.0f} s", flush=True)
    print(pd.DataFrame(rows).T.to_markdown(floatfmt=".3f"))


if __name__ == "__main__":
    main(*sys.argv[1:])
