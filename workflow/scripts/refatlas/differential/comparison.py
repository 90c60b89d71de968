"""A contrast within each label: which samples take part, and what differs between the groups."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.differential.deseq import (
    ALPHA,
    MIN_COUNTS,
    compare_samples,
    size_factor_facts,
    worker_processes,
)
from refatlas.differential.design import MIN_SAMPLES, Design, confounding, fit_design
from refatlas.differential.gene_sets import COLUMNS, enriched_sets, residual_effects
from refatlas.differential.participants import groups_of
from refatlas.differential.pseudobulk import CountedFile, Pseudobulk, sum_counts
from refatlas.errors import InputError, listed
from refatlas.io.labels_csv import ASSIGNED, read_labels

TOO_FEW_CELLS = "fewer cells than min_cells"
NO_GENE = f"no gene that all its samples measured has {MIN_COUNTS} counts"
GENE_COLUMNS = ["label", "gene", "symbol", "base_mean", "log2_fold_change", "standard_error", "statistic"]
GENE_COLUMNS += ["p_value", "fdr"]


class Comparison(NamedTuple):
    """The results of a contrast.

    Attributes:
        genes: one row for each label and tested gene.
        samples: one row for each label, sample and group.
        labels: one row a label: left_out (why; "" if it was tested), numbers of samples, cells and genes,
            size_factors and size_factor_genes (how samples were scaled, by how many genes), and confounded (a sentence
            on files and batches that have one group alone among its samples; "" without any).
        enrichment: one row for each label and gene set; empty without gene sets.
    """

    genes: pd.DataFrame
    samples: pd.DataFrame
    labels: pd.DataFrame
    enrichment: pd.DataFrame


def reference_labels(cells: pd.DataFrame) -> pd.Series:
    """Return the finest label of the cells of a dataset, indexed by cell; missing where they have none."""
    return cells["label"] if "label" in cells else pd.Series(None, index=cells.index, dtype=object)


def query_labels(path: str, cells: pd.DataFrame, status: str) -> pd.Series:
    """Return the delivered label of the cells of a query, indexed by cell; missing for those of another status.

    Args:
        path: of its labels.csv. cells: its cells.parquet. status: of the contrast.
    """
    table = read_labels(path).loc[cells["barcode"]]
    wanted = table["status"].eq(ASSIGNED) if status == ASSIGNED else pd.Series(True, index=table.index)
    return table["label"].where(wanted, None).set_axis(cells.index)


def of_all_cells(
    datasets: Mapping[str, Mapping[str, str]],
    queries: Mapping[str, Mapping[str, str]],
    of_dataset: Callable[[pd.DataFrame], pd.Series],
    of_query: Callable[[str, pd.DataFrame, str], pd.Series],
    status: str,
) -> pd.Series:
    """Return a value of the cells of all files, such as the label, indexed by cell.

    Args:
        datasets: by name, path of dataset_cells.
        queries: by name, paths of query_cells and query_labels.
        of_dataset, of_query: of the cells of one file, as `reference_labels` and `query_labels`.
        status: of the contrast.
    """
    found = [of_dataset(pd.read_parquet(paths["dataset_cells"])) for paths in datasets.values()]
    for paths in queries.values():
        found.append(of_query(paths["query_labels"], pd.read_parquet(paths["query_cells"]), status))
    return pd.concat(found)


def label_samples(
    cells: pd.DataFrame, labels: pd.Series, samples: pd.DataFrame, contrast: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.Series]:
    """Return the pseudobulk samples of each label with their numbers of cells, and the number of that of each cell.

    Args:
        cells: of the contrast, indexed by cell.
        labels: of cells, indexed by cell.
        samples: of `pseudobulk_samples`.

    Raises:
        InputError: no cell has a label, or a label that the contrast names has no cells.
    """
    keys = [contrast["sample"], contrast["condition"]]
    found = cells[list(dict.fromkeys(keys))].astype(str).assign(label=labels.reindex(cells.index))
    found = found[found["label"].notna()]
    present = sorted(set(found["label"]))
    if missing := [label for label in contrast["labels"] if label not in present]:
        raise InputError(
            f"labels: {missing[0]!r} is the label of no cell of the two groups; they have {listed(present, 30)}"
        )
    if not present:
        raise InputError(
            "no cell of the two groups has a label that takes part; see status, and the verdicts of queries"
        )
    found = found[found["label"].isin(contrast["labels"] or present)]
    sizes = found.groupby(["label", *keys], sort=True).size().rename("n_cells").reset_index()
    table = sizes.merge(samples.drop(columns="n_cells"), on=keys)
    # Not in a column of its own, whose name the user's columns may have.
    places = pd.MultiIndex.from_frame(samples[keys]).get_indexer(pd.MultiIndex.from_frame(table[keys]))
    table = table.iloc[np.argsort(places, kind="stable")].sort_values("label", kind="stable").reset_index(drop=True)
    enough = table["n_cells"] >= contrast["min_cells"]
    table = table.assign(used=enough, reason=np.where(enough, "", TOO_FEW_CELLS))
    numbers = pd.Series(np.arange(len(table)), index=pd.MultiIndex.from_frame(table[["label", *keys]]))
    of_cells = numbers.reindex(pd.MultiIndex.from_frame(found[["label", *keys]])).to_numpy()
    return table, pd.Series(of_cells, index=found.index)


def compare_labels(
    files: Sequence[CountedFile],
    samples: pd.DataFrame,
    contrast: Mapping[str, Any],
    sets: pd.DataFrame | None,
    n_threads: int = 1,
) -> Comparison:
    """Return what differs between the groups within each label.

    Args:
        files: whose cells have the numbers of `samples`.
        samples: of `label_samples`.
        contrast: its settings.
        sets: of `gene_set_table`; None for no enrichment.
        n_threads: does not change results.

    Raises:
        InputError: no label has enough samples.
    """
    designs = {label: _design_of(part, contrast) for label, part in samples.groupby("label", sort=True)}
    tested = {label: design for label, design in designs.items() if isinstance(design, Design)}
    _require_tested(designs)
    bulk = sum_counts(files, len(samples))
    samples = samples.assign(total_counts=bulk.counts.sum(axis=1), size_factor=np.nan)
    genes, enrichment, sizes = [], [], {}
    with worker_processes(n_threads):
        for label, design in tested.items():
            own = samples.index[(samples["label"] == label) & samples["used"]].to_numpy()
            names, counts = _tested_counts(bulk, own)
            if not len(names):
                designs[label] = NO_GENE
                continue
            found, factors = compare_samples(counts, design, n_threads)
            found, sizes[label] = found.assign(**names), size_factor_facts(counts)
            samples.loc[own, "size_factor"] = factors
            genes.append(found.assign(label=label))
            n_differ = int((found["fdr"] < ALPHA).sum())
            print(f"{label}: {len(own)} samples, {len(found):,} genes, {n_differ:,} differ", flush=True)
            if sets is not None:
                residuals = residual_effects(counts, factors, design.matrix.to_numpy())
                enrichment.append(enriched_sets(found, sets, residuals).assign(label=label))
    _require_tested(designs)
    table = pd.concat(genes, ignore_index=True)[GENE_COLUMNS]
    found_sets = pd.DataFrame(columns=["label", *COLUMNS])
    if tables := [part for part in enrichment if len(part)]:
        found_sets = pd.concat(tables, ignore_index=True)[["label", *COLUMNS]]
    return Comparison(table, samples, _summaries(samples, designs, sizes, table, contrast), found_sets)


def _require_tested(designs: Mapping[str, Design | str]) -> None:
    if not any(isinstance(design, Design) for design in designs.values()):
        reasons = "; ".join(f"{label}: {reason}" for label, reason in list(designs.items())[:6])
        raise InputError(f"no label can be compared: {reasons}; lower min_cells, or add samples")


def _design_of(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> Design | str:
    """Return the design of a label's samples, or why there is none."""
    used = samples[samples["used"]]
    counts = {group: int((used[contrast["condition"]] == group).sum()) for group in groups_of(contrast)}
    if min(counts.values()) < MIN_SAMPLES:
        have = " and ".join(f"{n} of {group}" for group, n in counts.items())
        return f"{have} samples have {contrast['min_cells']} cells; need {MIN_SAMPLES} of each group"
    try:
        return fit_design(used, contrast)
    except InputError as error:
        return str(error)


def _tested_counts(bulk: Pseudobulk, own: np.ndarray) -> tuple[pd.DataFrame, np.ndarray]:
    """Return gene and symbol of a label's genes, and their counts in its samples, shape (n_samples, n_genes).

    Genes are those that all its samples measured, with enough counts.
    """
    tested = bulk.measured[own].all(axis=0) & (bulk.counts[own].sum(axis=0) >= MIN_COUNTS)
    genes = bulk.genes[tested]
    symbols = genes["symbol"].fillna(genes.index.to_series()).to_numpy()
    return pd.DataFrame({"gene": genes.index, "symbol": symbols}), bulk.counts[np.ix_(own, tested)]


def _summaries(
    samples: pd.DataFrame,
    designs: Mapping[str, Design | str],
    sizes: Mapping[str, Mapping[str, Any]],
    genes: pd.DataFrame,
    contrast: Mapping[str, Any],
) -> pd.DataFrame:
    """Return one row a label.

    Args:
        sizes: of `size_factor_facts`, by tested label.
    """
    rows = []
    for label, design in designs.items():
        tested, used = isinstance(design, Design), samples[(samples["label"] == label) & samples["used"]]
        of_groups = [used[used[contrast["condition"]] == group] for group in groups_of(contrast)]
        own = genes[genes["label"] == label]
        differ = own["fdr"] < ALPHA
        rows.append(
            {
                "label": label,
                "left_out": "" if tested else design,
                "test_samples": len(of_groups[0]),
                "control_samples": len(of_groups[1]),
                "test_cells": int(of_groups[0]["n_cells"].sum()),
                "control_cells": int(of_groups[1]["n_cells"].sum()),
                "tested_genes": len(own),
                "filtered_genes": int(own["fdr"].isna().sum()),
                "higher_in_test": int((differ & (own["log2_fold_change"] > 0)).sum()),
                "lower_in_test": int((differ & (own["log2_fold_change"] < 0)).sum()),
                **sizes.get(label, {"size_factors": "", "size_factor_genes": 0}),
                "confounded": "; ".join(confounding(used, contrast)) if tested else "",
            }
        )
    return pd.DataFrame(rows)
