"""Maps CITE-seq queries with other panels of antibodies by totalVI: labels, and imputed against hidden counts.

usage: .venv/bin/python measurements/protein_panels.py DATA WORK [EPOCHS [SEED]]
    DATA    folder of pbmc10k_6434c_698g_14p.h5ad (reference) and citeseq_1400c_3batches_14p.h5ad (queries)
    WORK    folder for files; it is made
    EPOCHS  of training and of surgery (default 60)
    SEED    of the training and of the choice of proteins (default 0)

The query's panels: all 14 proteins; `other`, 7 of them, 2 named by their clone and given in protein_names, and 5 that
are made up, so that 5 are hidden; none. Labels are those of the 15 nearest reference cells in the latent space. They
are compared with the file's labels, which were gated from the very proteins: so all 14 have an advantage. The batch
pbmc10k_v3 is left out: its cells are in the reference. Correlations are Spearman's, within each batch.
"""

import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from refatlas.config.settings import complete_config
from refatlas.io.fingerprints import fingerprints
from refatlas.io.model_counts import protein_names, read_counts
from refatlas.io.raw_counts import open_counts
from refatlas.models.interface import JobContext
from refatlas.models.registry import MODEL_TYPES, settings_schema
from refatlas.neighbors.exact_index import nearest_neighbors
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.gene_selection import select_genes
from refatlas.prepare.model_input import write_query, write_reference
from refatlas.prepare.proteins import protein_notes
from refatlas.transfer.weighted_knn import weighted_knn_table

KEY, K = "protein_expression", 15
GATED = {
    "CD4 T": "CD4+ T-cells",
    "CD8 T": "CD8+ T-cells",
    "B": "B-cells",
    "NK": "NK cells",
    "CD14 Mono": "Monocytes",
    "CD16 Mono": "Monocytes",
}


def row_of(path: Path, protein_key: str | None, **further) -> dict:
    """Return the row of a sheet."""
    row = {"path": str(path), "layer": None, "batch_key": "batch", "batch_is_default": True, "label_keys": []}
    row |= {"gene_key": None, "protein_key": protein_key, "protein_is_default": False, "metadata": None}
    return row | further


def write_panels(data: Path, work: Path, seed: int) -> tuple[pd.DataFrame, pd.Series, list[str]]:
    """Write the query with its panels; return all proteins, the labels, and the proteins that `other` hides."""
    query = ad.read_h5ad(data / "citeseq_1400c_3batches_14p.h5ad")
    query = query[(query.obs["batch"] != "pbmc10k_v3").to_numpy()].copy()
    truth, random = query.obsm[KEY].copy(), np.random.default_rng(seed)
    names = list(random.permutation(truth.columns))
    kept, renamed, hidden = names[:7], names[7:9], names[9:]
    clones = {name: f"{name}_CLONE{i}" for i, name in enumerate(renamed)}
    query.obsm["other"] = truth[kept + renamed].rename(columns=clones)
    for i in range(5):
        query.obsm["other"][f"INVENTED{i}"] = random.poisson(30, len(truth))
    query.write_h5ad(work / "query.h5ad")
    table = pd.DataFrame({"name": list(clones.values()), "protein": list(clones)})
    table.to_csv(work / "names.tsv", sep="\t", index=False)
    return truth, query.obs["cell_type"].astype(str).map(GATED), hidden


def settings(epochs: int) -> dict:
    """Return the defaults of totalVI with so many epochs."""
    found: dict = {"type": "totalvi"}
    for section, part in settings_schema("totalvi")["properties"].items():
        if "properties" in part:
            found[section] = {key: value["default"] for key, value in part["properties"].items() if "default" in value}
    for section in ("train", "surgery"):
        found[section]["max_epochs"] = epochs
    return found


def prepared(data: Path, work: Path, config: dict) -> tuple[ad.AnnData, pd.DataFrame]:
    """Return the reference as models see it, and its genes."""
    row = row_of(data / "pbmc10k_6434c_698g_14p.h5ad", KEY, label_keys=["cell_type"])
    found = scan_file(open_counts(row["path"]), "pbmc", row, config["qc"], config["unlabeled"])
    found.genes.to_parquet(work / "genes.parquet")
    genes = select_genes([row], [found.cells], [found.genes], config["genes"])
    counts, tables = str(work / "counts.h5ad"), {"pbmc": str(work / "genes.parquet")}
    write_reference(counts, {"pbmc": row}, {"pbmc": found.cells}, tables, genes, {}, fingerprints([row["path"]]))
    return read_counts(counts), genes


def of_query(row: dict, work: Path, genes: pd.DataFrame, config: dict) -> ad.AnnData:
    """Return a query as models see it."""
    file = open_counts(row["path"])
    found = scan_file(file, "query", row, config["qc"], config["unlabeled"])
    known = protein_names(work / "counts.h5ad")
    print(*protein_notes("query", found.summary["proteins"], known))
    write_query(str(work / "mapped.h5ad"), file, row, found, genes, known, fingerprints([row["path"]]))
    return read_counts(work / "mapped.h5ad")


def main(data: str, work: str, epochs: str = "60", seed: str = "0") -> None:
    """Train once, map each panel, and print a table."""
    folder, config = Path(work), complete_config({"reference": "r.tsv", "queries": "q.tsv"})
    folder.mkdir(parents=True, exist_ok=True)
    truth, gated, hidden = write_panels(Path(data), folder, int(seed))
    reference, genes = prepared(Path(data), folder, config)
    job, chosen = JobContext(seed=int(seed)), settings(int(epochs))
    model = MODEL_TYPES["totalvi"].load_class().fit(reference.copy(), chosen, job)
    latent, rows = model.latent(reference.copy()), {}
    for panel, key in {"all 14": KEY, "other": "other", "none": None}.items():
        started = time.monotonic()
        further = {"protein_names": str(folder / "names.tsv")} if panel == "other" else {}
        query = of_query(row_of(folder / "query.h5ad", key, **further), folder, genes, config)
        mapped = model.map_query(query.copy(), chosen, job)
        places = nearest_neighbors(latent, mapped.latent(query.copy()), K)
        table = weighted_knn_table(reference.obs["label"].astype(object), *places, query.obs_names)
        found = table.groupby("cell", sort=False).first()["label"] if "cell" in table else table["label"]
        batches, known = query.obs["batch"].to_numpy(str), gated.notna().to_numpy()
        right = found.to_numpy(str) == gated.to_numpy(str)
        row = {f"accuracy {batch}": right[known & (batches == batch)].mean() for batch in np.unique(batches)}
        if panel != "all 14":
            proteins = mapped.tables(query.copy(), reference.copy())["proteins"]
            for name in hidden:
                values = [
                    spearmanr(proteins[name].to_numpy()[batches == b], truth[name].to_numpy()[batches == b]).statistic
                    for b in np.unique(batches)
                ]
                row[f"r {name}"] = np.mean(values)
            row["mean r of the hidden"] = np.mean([row[f"r {name}"] for name in hidden])
        rows[panel] = row
        print(panel, row, f"{time.monotonic() - started:.0f} s", flush=True)
    print(pd.DataFrame(rows).to_markdown(floatfmt=".3f"))


if __name__ == "__main__":
    main(*sys.argv[1:])
