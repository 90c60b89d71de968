"""What clusters consist of, and which may be no cell type.

Flags are for clusters of one batch or dataset, of low quality, of doublets, of ambient RNA, and of the cell cycle.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

CELL_CYCLE = Path(__file__).parent / "markers" / "cell_cycle.tsv"
# A cluster is of one batch or dataset if so much of it is, and if of the rest it has a fifth of its due.
ONE_SOURCE, DUE = 0.9, 0.2
# Genes of a cluster's own: two times its other cells, in a quarter of its cells. A cluster has few of them if they are
# fewer than ten, or than a tenth of what is usual among the clusters: how many that is depends on the genes measured.
OWN_LOG2, OWN_SHARE, FEW_OWN, FEW_OF_USUAL = 1.0, 0.25, 10, 0.1
# Counts or genes below this share of what is usual, and a mitochondrial share so far above.
LOW_DEPTH, HIGH_MITO, MITO_FACTOR = 0.5, 0.05, 2.0
# Correlation with the sum of all cells, in log expression. It must also be above that with any other cluster. Droplets
# without a cell have clearly fewer counts than cells.
AMBIENT_CORRELATION, AMBIENT_DEPTH = 0.8, 0.75
# A gene is beyond other clusters if its mean is half a doubling above theirs.
BEYOND = np.log(2) / 2
# Genes that tell two clusters apart, the share of them that a doublet expresses, and how much of it.
TELLING, EXPRESSED, OF_SOURCE = 15, 0.75, 0.35
# Of the genes of the cell cycle, and times as many as of all genes; of a cluster's first markers.
CYCLING, CYCLING_FACTOR, FIRST_MARKERS, FIRST_CYCLING, LEAST_CYCLE_GENES = 0.3, 2.0, 30, 0.25, 10


@dataclass
class Profiles:
    """Expression of the clusters of one resolution.

    Attributes:
        mean: mean of log1p of counts per 10,000, clusters × genes.
        share: share of cells with a count, likewise.
        fold: log2 fold change within batches where it is known, likewise.
        score: of the test within batches where it is known, likewise.
        symbols: of the genes.
    """

    mean: pd.DataFrame
    share: pd.DataFrame
    fold: pd.DataFrame
    score: pd.DataFrame
    symbols: pd.Series

    @classmethod
    def of(cls, markers: pd.DataFrame) -> "Profiles":
        """Return the profiles of one grouping of markers.parquet."""
        table = pd.DataFrame(
            {
                "group": markers["group"].astype(str).astype(int).to_numpy(),
                "gene": markers["gene"].astype(str).to_numpy(),
                "mean": markers["mean_in"].to_numpy(),
                "share": markers["share_in"].to_numpy(),
                "fold": markers["batch_log2_fold_change"].fillna(markers["log2_fold_change"]).to_numpy(),
                "score": markers["batch_score"].fillna(markers["score"]).to_numpy(),
            }
        )
        wide = {
            name: table.pivot(index="group", columns="gene", values=name) for name in ("mean", "share", "fold", "score")
        }
        symbols = markers.drop_duplicates("gene").set_index("gene")["symbol"].astype(str)
        symbols.index = symbols.index.astype(str)
        return cls(**{name: part.fillna(0) for name, part in wide.items()}, symbols=symbols.loc[wide["mean"].columns])

    def own(self) -> pd.DataFrame:
        """Return which genes are a cluster's own, clusters × genes."""
        return (self.fold >= OWN_LOG2) & (self.share >= OWN_SHARE) & (self.score > 0)


def summarize_clusters(clusters: pd.DataFrame, cells: pd.DataFrame, markers: pd.DataFrame) -> pd.DataFrame:
    """Return the table of all clusters, with flags and their reasons.

    Args:
        clusters: clusters.parquet.
        cells: batch, total_counts, n_genes and mito_share, indexed by cell.
        markers: markers.parquet.
    """
    cells = cells.loc[clusters.index]
    datasets = clusters.index.str.split(":", n=1).str[0].to_numpy()
    tables = []
    for resolution in clusters:
        table = _composition(clusters[resolution].to_numpy(), cells, datasets)
        table.insert(0, "resolution", resolution)
        flags = cluster_flags(table, cells["batch"], datasets, Profiles.of(markers[markers["grouping"] == resolution]))
        table["flags"] = ["; ".join(flags[cluster]) for cluster in table["cluster"]]
        table["flag_reasons"] = ["; ".join(flags[cluster].values()) for cluster in table["cluster"]]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _composition(codes: np.ndarray, cells: pd.DataFrame, datasets: np.ndarray) -> pd.DataFrame:
    grouped = cells.groupby(codes)
    table = pd.DataFrame({"cluster": np.arange(codes.max() + 1), "n_cells": np.bincount(codes)})
    for name, values in (("batch", cells["batch"].astype(str).to_numpy()), ("dataset", datasets)):
        counts = pd.crosstab(codes, values)
        table[f"n_{name}{'es' if name == 'batch' else 's'}"] = (counts > 0).sum(axis=1).to_numpy()
        table[f"top_{name}"] = counts.idxmax(axis=1).to_numpy()
        table[f"top_{name}_share"] = (counts.max(axis=1) / counts.sum(axis=1)).to_numpy()
    table["median_counts"] = grouped["total_counts"].median().to_numpy()
    table["median_genes"] = grouped["n_genes"].median().to_numpy()
    table["mito_share"] = grouped["mito_share"].median().to_numpy()
    return table


def cluster_flags(
    table: pd.DataFrame, batches: pd.Series, datasets: np.ndarray, profiles: Profiles
) -> dict[int, dict[str, str]]:
    """Return flags and their reasons by cluster.

    Args:
        table: of the clusters of one resolution, as `summarize_clusters` makes it.
        batches: of all cells. datasets: likewise.
        profiles: of the same clusters.
    """
    flags: dict[int, dict[str, str]] = {cluster: {} for cluster in table["cluster"]}
    for name, values in (("batch", batches.astype(str)), ("dataset", pd.Series(datasets))):
        usual = values.value_counts(normalize=True)
        for row in table.to_dict("records") if len(usual) > 1 else ():
            share, expected = row[f"top_{name}_share"], usual[row[f"top_{name}"]]
            if share >= ONE_SOURCE and 1 - share <= DUE * (1 - expected):
                flags[row["cluster"]][f"one {name}"] = (
                    f"{share:.0%} of its cells are of {name} {row[f'top_{name}']}, with {expected:.0%} of all cells"
                )
    n_own = profiles.own().sum(axis=1)
    _flag_quality(table, n_own, profiles, flags)
    _flag_ambient(table, profiles, flags)
    _flag_doublets(table, profiles, flags)
    _flag_cell_cycle(profiles, flags)
    return flags


def _flag_quality(table: pd.DataFrame, n_own: pd.Series, profiles: Profiles, flags: dict[int, dict[str, str]]) -> None:
    """Flag clusters of few counts that have few genes of their own, and of a high mitochondrial share."""
    usual = _usual(table)
    few_own = max(FEW_OWN, FEW_OF_USUAL * n_own.median())
    for row in table.to_dict("records"):
        cluster, few = row["cluster"], n_own.get(row["cluster"], 0) < few_own
        depth, genes = row["median_counts"] / usual["median_counts"], row["median_genes"] / usual["median_genes"]
        mito = row["mito_share"]
        if few and max(depth, genes) < LOW_DEPTH:
            flags[cluster]["low quality"] = (
                f"{depth:.0%} of the usual counts, and {n_own.get(cluster, 0)} genes of its own"
            )
        elif mito > MITO_FACTOR * usual["mito_share"] and mito - usual["mito_share"] > HIGH_MITO:
            flags[cluster]["low quality"] = f"mitochondrial share {mito:.0%}; {usual['mito_share']:.0%} is usual"


def _flag_ambient(table: pd.DataFrame, profiles: Profiles, flags: dict[int, dict[str, str]]) -> None:
    """Flag clusters whose profile is that of all cells together, with few counts and no genes beyond all others.

    A part of a type that was split is more like the rest of the type than like all cells.
    """
    if len(table) < 3:
        return
    usual, clusters = _usual(table), list(table["cluster"])
    like_all, like_others = _likeness(profiles.mean, (table["n_cells"] * table["median_counts"]).to_numpy())
    for cluster, counts in zip(clusters, table["median_counts"], strict=True):
        likeness, other, depth = like_all[cluster], like_others[cluster], counts / usual["median_counts"]
        if depth >= AMBIENT_DEPTH or likeness < max(AMBIENT_CORRELATION, other):
            continue
        n_beyond = _n_beyond(profiles, cluster, [name for name in clusters if name != cluster])
        if n_beyond < FEW_OWN:
            flags[cluster]["ambient RNA"] = (
                f"its profile is that of all cells together (correlation {likeness:.2f}; {other:.2f} with the nearest"
                f" cluster), with {depth:.0%} of the usual counts and {n_beyond} genes beyond all other clusters"
            )


def _usual(table: pd.DataFrame) -> pd.Series:
    """Return the medians of the cluster that half of the cells lie below: many small clusters do not change them."""
    found = {}
    for name in ("median_counts", "median_genes", "mito_share"):
        ordered = table.sort_values(name)
        half = ordered["n_cells"].cumsum() >= ordered["n_cells"].sum() / 2
        found[name] = ordered.loc[half, name].iloc[0]
    return pd.Series(found)


def _likeness(mean: pd.DataFrame, counts: np.ndarray) -> tuple[pd.Series, pd.Series]:
    """Return the correlation of each cluster's profile with that of all cells, and the best with another cluster.

    What cells leak is in the soup in proportion to their counts.

    Args:
        mean: log expression, clusters × genes. counts: of all cells of each cluster together.
    """
    pooled = np.log1p(np.average(np.expm1(mean), axis=0, weights=counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        # Of a profile without variance, the correlation is not defined.
        likeness = np.nan_to_num(np.corrcoef(np.vstack([mean.to_numpy(), pooled])))
    np.fill_diagonal(likeness, -1)
    return pd.Series(likeness[:-1, -1], index=mean.index), pd.Series(likeness[:-1, :-1].max(axis=1), index=mean.index)


def _n_beyond(profiles: Profiles, cluster: int, others: list[int]) -> int:
    """Return how many genes are higher in a cluster than in each of the others: no mixture of them has any."""
    above = profiles.mean.loc[cluster] - profiles.mean.loc[others].max()
    return int(((above > BEYOND) & (profiles.share.loc[cluster] >= OWN_SHARE)).sum())


def _flag_doublets(table: pd.DataFrame, profiles: Profiles, flags: dict[int, dict[str, str]]) -> None:
    """Flag clusters that express what tells two others apart, have few genes of their own, and more counts than both.

    After findDoubletClusters (Bach 2017, in scDblFinder).
    """
    sizes, depth = (table.set_index("cluster")[name] for name in ("n_cells", "median_counts"))
    telling = _telling_genes(profiles)
    mean = profiles.mean
    for cluster in table["cluster"]:
        larger = [other for other in sizes.index if sizes[other] > sizes[cluster] and depth[other] < depth[cluster]]
        for first, second in combinations(larger, 2):
            parts = telling[first, second], telling[second, first]
            if min(map(len, parts)) < TELLING // 3:
                continue
            found = [
                (mean.loc[cluster, genes] >= OF_SOURCE * mean.loc[source, genes]).mean()
                for source, genes in zip((first, second), parts, strict=True)
            ]
            if min(found) >= EXPRESSED and (n_own := _n_beyond(profiles, cluster, [first, second])) < FEW_OWN:
                flags[cluster]["doublets"] = (
                    f"expresses what tells clusters {first} and {second} apart ({min(found):.0%} of these genes), has"
                    f" {n_own} genes beyond both, and more counts than either"
                )
                break


def _telling_genes(profiles: Profiles) -> dict[tuple[int, int], np.ndarray]:
    """Return the genes that are clearly higher in the first cluster of a pair than in the second, at most TELLING."""
    genes, mean, share = profiles.mean.columns.to_numpy(), profiles.mean.to_numpy(), profiles.share.to_numpy()
    found = {}
    for i, first in enumerate(profiles.mean.index):
        for j, second in enumerate(profiles.mean.index):
            if i != j:
                above = np.where((share[i] >= 0.5) & (share[j] <= 0.2), mean[i] - mean[j], 0)
                best = np.argsort(-above, kind="stable")[:TELLING]
                found[first, second] = genes[best[above[best] > np.log(2)]]
    return found


def _flag_cell_cycle(profiles: Profiles, flags: dict[int, dict[str, str]]) -> None:
    """Flag clusters whose markers are genes of the cell cycle."""
    known = set(pd.read_csv(CELL_CYCLE, sep="\t", comment="#")["gene"])
    cycle = profiles.symbols.str.upper().isin(known).to_numpy()
    if cycle.sum() < LEAST_CYCLE_GENES:
        return
    own = profiles.own()
    for cluster in flags:
        of_cycle, of_all = own.loc[cluster].to_numpy()[cycle].mean(), own.loc[cluster].mean()
        first = np.argsort(-profiles.score.loc[cluster].to_numpy(), kind="stable")[:FIRST_MARKERS]
        if of_cycle >= max(CYCLING, CYCLING_FACTOR * of_all) or cycle[first].mean() >= FIRST_CYCLING:
            names = [name for name in profiles.symbols.to_numpy()[first] if name.upper() in known][:5]
            flags[cluster]["cell cycle"] = (
                f"{of_cycle:.0%} of the genes of S, G2 and M phase mark it, and {of_all:.0%} of all genes"
                + (f" ({', '.join(names)})" if names else "")
            )
