"""mvTCR beside PCA on the same T cells with a pair of receptors (screp): each of four patients left out in turn.

usage: .venv/bin/python measurements/receptor_models.py DATA [SECTION.SETTING=NUMBER ...]
    DATA  folder with screp_500c_2000g_tcr.h5ad

Both are fitted to the other patients' cells, and label the left-out cells by 15 neighbours, weighted by distance.
Prints accuracy, seconds and epochs of training, and the peak memory of the process.
"""

import resource
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from refatlas.models.interface import JobContext
from refatlas.models.mvtcr import MvTCR
from refatlas.models.registry import MODEL_TYPES
from refatlas.prepare.normalization import log_normalized

K, N_COMPONENTS = 15, 20


def settings_of(changed: list[str]) -> dict:
    """Return the default settings, with some numbers changed."""
    schema = MODEL_TYPES["mvtcr"].settings_schema()
    found = {section: {name: s["default"] for name, s in part.items()} for section, part in schema.items()}
    for text in changed:
        place, value = text.split("=")
        section, name = place.split(".")
        found[section][name] = type(found[section][name])(float(value))
    return {"type": "mvtcr", **found}


def accuracy(reference: np.ndarray, labels: pd.Series, query: np.ndarray, truth: pd.Series) -> float:
    """Return the share of right labels by the nearest neighbours."""
    knn = KNeighborsClassifier(K, weights="distance").fit(reference, labels)
    return float((knn.predict(query) == truth.to_numpy()).mean())


def leave_out(cells: ad.AnnData, patient: str, settings: dict) -> dict:
    """Return the accuracies on one patient's cells."""
    own = (cells.obs["patient"] == patient).to_numpy()
    reference, query = cells[~own].copy(), cells[own].copy()
    labels, truth = (part.obs["cell_type"].astype(str) for part in (reference, query))
    started = time.monotonic()
    model = MvTCR.fit(reference, settings, JobContext())
    seconds = time.monotonic() - started
    mapped = model.map_query(query, settings, JobContext())
    x, y = (log_normalized(part.X).toarray() for part in (reference, query))
    pca = PCA(N_COMPONENTS, random_state=0).fit(x)
    return {
        "patient": patient,
        "query": query.n_obs,
        "reference": reference.n_obs,
        "mvtcr": accuracy(model.latent(reference), labels, mapped.latent(query), truth),
        "pca": accuracy(pca.transform(x), labels, pca.transform(y), truth),
        "most_frequent": float((truth == labels.value_counts().index[0]).mean()),
        "seconds": seconds,
        "epochs": len(model.training.history),
    }


def main() -> None:
    cells = ad.read_h5ad(Path(sys.argv[1]) / "screp_500c_2000g_tcr.h5ad")
    cells = cells[cells.obs["has_paired_tcr"]].copy()
    cells.obs = cells.obs[["batch", "patient", "cell_type", "TRA_cdr3", "TRB_cdr3"]].astype(str)
    cells.obs = cells.obs.rename(columns={"TRA_cdr3": "alpha", "TRB_cdr3": "beta"})
    settings = settings_of(sys.argv[2:])
    rows = pd.DataFrame([leave_out(cells, patient, settings) for patient in sorted(cells.obs["patient"].unique())])
    print(rows.round(3).to_string(index=False))
    for name in ("mvtcr", "pca", "most_frequent"):
        print(f"{name}: {np.average(rows[name], weights=rows['query']):.3f} of all left-out cells")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
