"""The next version of an atlas: cells of labelled queries join it, and nothing is trained anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd

from refatlas.bundle.manifest import MATCHED_SAMPLE
from refatlas.bundle.portable import without_folders
from refatlas.errors import InputError, listed
from refatlas.evaluate.simulated_counts import simulated_counts
from refatlas.io.atomic import read_json, write_table
from refatlas.io.cell_tables import label_columns
from refatlas.io.model_counts import read_counts
from refatlas.models.registry import BASELINE
from refatlas.transfer.hierarchy import hierarchy
from refatlas.transfer.query_match import matched_rows
from refatlas.transfer.recorded_rows import DRAWS
from refatlas.transfer.reference_index import index_cells

DATASET = "reference/datasets/{}/{}"
MODEL = "reference/models/{}/{}"


@dataclass(frozen=True)
class QueryFiles:
    """Paths of a mapped query's results.

    Attributes:
        cells, counts, check: cells.parquet, counts.h5ad, check.json.
        latents, umaps: latent.parquet and umap.parquet, by model.
    """

    cells: str
    counts: str
    check: str
    latents: Mapping[str, str]
    umaps: Mapping[str, str]


def joining_cells(path: str, query: str, parents: pd.DataFrame) -> pd.DataFrame:
    """Return a query's cells as cells of a dataset: a label that the atlas lacks, or of a cell of low quality, is none.

    Coarser labels are the atlas' own, so that no query changes what a label is part of.

    Args:
        path: of the query's cells.parquet.
        query: its name.
        parents: coarser labels of the atlas' labels, from `hierarchy`.

    Raises:
        InputError: no cell has a label of the atlas.
    """
    cells = pd.read_parquet(path)
    voting = cells["label"].isin(parents.index) & cells["keep"]
    if not voting.any():
        found = listed(cells["label"].dropna().unique())
        raise InputError(
            f"config: bundle: grow: {query}: none of its labels ({found}) is one of the atlas"
            f" ({listed(parents.index)}); name its label column in the sheet, and write the labels as the atlas does"
        )
    cells = cells.drop(columns=[column for column in label_columns(cells) if column != "label"])
    cells.loc[~voting, "label"] = None
    for column in parents:
        cells[column] = cells["label"].map(parents[column])
    left = cells["label"].isna() & cells["keep"]
    print(f"{query}: {int(voting.sum())} cells vote from now on; {int(left.sum())} have no label of the atlas")
    return cells


def grow(
    work: Path,
    queries: Mapping[str, QueryFiles],
    files: Mapping[str, str],
    cells: str,
    sample: str,
    seed: int,
    *,
    simulated: bool,
) -> dict[str, str]:
    """Write the files of an atlas that change when queries join it, and return their paths by name in the bundle.

    Args:
        work: empty folder for the files.
        queries: files of each query that joins.
        files: path of each file of the atlas, by name in its bundle.
        cells: name of a dataset's table of cells with the final labels.
        sample: name of the sample of counts that queries are matched with.
        seed: of all draws.
        simulated: whether the counts in it are simulated, as those of the queries then are.
    """
    datasets = [
        path for name, path in files.items() if name.startswith("reference/datasets/") and name.endswith(f"/{cells}")
    ]
    tables = [pd.read_parquet(path) for path in datasets]
    parents = hierarchy(pd.concat(tables))
    joined = {query: joining_cells(paths.cells, query, parents) for query, paths in queries.items()}
    # Datasets without labels have no column of them, and their cells no vote.
    labels = pd.concat([table.reindex(columns=["label"])["label"] for table in [*tables, *joined.values()]])
    found = _grown_datasets(work, joined, queries, cells)
    models = next(iter(queries.values())).latents
    for model in models:
        found |= _grown_model(work, model, queries, joined, files, labels, seed)
    target = work / "reference" / MATCHED_SAMPLE
    _grown_sample(files[f"reference/{sample}"], queries, joined, target, seed, simulated)
    return found | {f"reference/{MATCHED_SAMPLE}": str(target)}


def _grown_datasets(
    work: Path, joined: Mapping[str, pd.DataFrame], queries: Mapping[str, QueryFiles], cells: str
) -> dict[str, str]:
    """Write the queries' cells as those of datasets."""
    found = {}
    for query, table in joined.items():
        for name in dict.fromkeys(("cells.parquet", cells)):
            found[DATASET.format(query, name)] = _written(work, DATASET.format(query, name), table)
        name = DATASET.format(query, "scan.json")
        scan = {key: value for key, value in read_json(queries[query].check).items() if key != "padded_genes"}
        (work / name).write_bytes(without_folders(scan))
        found[name] = str(work / name)
    return found


def _grown_model(
    work: Path,
    model: str,
    queries: Mapping[str, QueryFiles],
    joined: Mapping[str, pd.DataFrame],
    files: Mapping[str, str],
    labels: pd.Series,
    seed: int,
) -> dict[str, str]:
    """Write a model's latent space, UMAP and index with the kept cells of the queries."""
    found = {}
    for kind in ("latent", "umap"):
        name, kept = MODEL.format(model, f"{kind}.parquet"), []
        for query, paths in queries.items():
            part = pd.read_parquet((paths.latents if kind == "latent" else paths.umaps)[model])
            kept.append(part[joined[query].loc[part.index, "keep"].to_numpy()])
        found[name] = _written(work, name, pd.concat([pd.read_parquet(files[name]), *kept]))
    latent_file, name = found[MODEL.format(model, "latent.parquet")], MODEL.format(model, "index.npz")
    latent = pd.read_parquet(latent_file)
    voting = labels.loc[latent.index].dropna()
    index_cells(latent.loc[voting.index].to_numpy(), voting, seed).save(str(work / name), latent_file)
    return found | {name: str(work / name)}


def _written(work: Path, name: str, table: pd.DataFrame) -> str:
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    write_table(table, str(work / name))
    return str(work / name)


def _grown_sample(
    path: str,
    queries: Mapping[str, QueryFiles],
    joined: Mapping[str, pd.DataFrame],
    target: Path,
    seed: int,
    simulated: bool,
) -> None:
    """Write the sample of counts with voting cells of the queries among those that a query is matched with.

    These are drawn evenly from the labels, if there are more than a query is matched with. Cells of a query that
    lacks genes are not among them: the zeros in their place would be taken for expression.
    """
    sample, parts = read_counts(path), []
    for query, paths in queries.items():
        part, cells = read_counts(paths.counts), joined[query]
        n_missing = int((~part.var["measured"]).sum())
        if n_missing:
            print(
                f"{query}: it lacks {n_missing} of the atlas' {part.n_vars} genes: no query is matched with its cells"
            )
            continue
        columns = [column for column in sample.obs if column != "batch" and column in cells]
        batches: Any = part.obs[["batch"]]
        part.obs = batches.join(cells.loc[part.obs_names, columns].dropna(axis=1, how="all"))
        if simulated:
            latent = pd.read_parquet(paths.latents[BASELINE]).loc[part.obs_names]
            part = simulated_counts(part, latent.to_numpy(), seed)
        parts.append(part[part.obs["label"].notna().to_numpy()].copy())
    whole = ad.concat([sample, *parts], join="outer", merge="first", uns_merge="first")
    draws: dict[str, Any] = dict(sample.uns[DRAWS])
    rows = np.concatenate([draws["matched"], np.arange(sample.n_obs, whole.n_obs)])
    rows = np.sort(rows[matched_rows(whole.obs.iloc[rows], seed)])
    # Cells of the sample stay, because other jobs read them.
    kept = np.concatenate([np.arange(sample.n_obs), rows[rows >= sample.n_obs]])
    grown = whole[kept].copy()
    grown.var = sample.var
    grown.uns = {**sample.uns, DRAWS: {**draws, "matched": np.searchsorted(kept, rows)}}
    target.parent.mkdir(parents=True, exist_ok=True)
    grown.write_h5ad(target, compression="gzip")
