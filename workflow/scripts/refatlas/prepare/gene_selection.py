"""Selection of the genes that models see: highly variable ones, included ones, or a model's own.

Highly variable genes are those of seurat_v3 over all batches of all datasets.
"""

import os
import re
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text, mark_training_cells, read_cells
from refatlas.prepare.gene_mismatch import former_symbols_hint, mismatch
from refatlas.prepare.gene_union import union_counts, union_lines
from refatlas.prepare.genes import genes_from_names, match_genes, match_steps, merge_genes
from refatlas.prepare.variable_genes import DatasetStream, normalized_variances, rank_genes

# Datasets that share less of the smallest one's genes are looked at for a reason.
USUAL_SHARE = 0.8


def selection_reasons(genes: pd.DataFrame, n_top: int, include: list[str]) -> pd.Series:
    """Return why each gene is selected: "included" by name, "variable" by rank, "" if it is not.

    Args:
        genes: with symbol, candidate, rank and n_batches.
        n_top: most genes, except that all included ones are selected.
        include: ids or symbols.

    Raises:
        InputError: an included gene is in no dataset.
    """
    reason = pd.Series("", index=genes.index)
    include = [as_text(gene) for gene in include]
    wanted = genes.index.isin(include) | genes["symbol"].isin(include)
    unknown = [gene for gene in include if gene not in genes.index and gene not in set(genes["symbol"])]
    if unknown:
        raise InputError(
            f"config: genes: include: {listed(unknown)} not found in the reference's datasets; give ids or symbols of"
            " their genes"
        )
    reason[wanted] = "included"
    candidates = genes[genes["candidate"] & ~wanted].sort_values(
        ["rank", "n_batches"], ascending=[True, False], na_position="last"
    )
    reason[candidates.index[: max(n_top - int(wanted.sum()), 0)]] = "variable"
    return reason


def candidates(
    genes: pd.DataFrame, n_datasets: int, share: float, exclude: list[str], reason: Callable[[], str] = str
) -> np.ndarray:
    """Return which genes may be selected: measured in enough datasets, and not excluded.

    Args:
        genes: with symbol and n_datasets.
        share: of the datasets that must have a gene.
        exclude: regular expressions of whole ids or symbols.
        reason: returns why genes are in too few datasets, as sentences for the message.

    Raises:
        InputError: no gene is in enough datasets.
    """
    enough = genes["n_datasets"] >= np.ceil(share * n_datasets - 1e-9)
    if not enough.any():
        raise InputError(
            f"no gene is measured in {share:.0%} of the {n_datasets} datasets."
            f" {reason() or 'Do all use the same gene names?'} Set gene_key, or lower genes.min_dataset_share"
        )
    unwanted = np.zeros(len(genes), dtype=bool)
    for pattern in exclude:
        matcher = re.compile(pattern)
        unwanted |= np.array(
            [
                bool(matcher.fullmatch(key) or matcher.fullmatch(symbol or ""))
                for key, symbol in zip(genes.index, genes["symbol"], strict=True)
            ]
        )
    return enough.to_numpy() & ~unwanted


def batch_sizes(cells: list[pd.DataFrame], min_cells: int) -> pd.Series:
    """Return the number of kept cells of each batch with at least `min_cells`.

    If there is no such batch, all cells become one batch, "all", in `cells` as well.
    """
    sizes = pd.concat([c.loc[c["keep"], "batch"] for c in cells]).value_counts(sort=False)
    large = sizes[sizes >= min_cells]
    for batch, n in sizes[sizes < min_cells].items():
        print(
            f"warning: batch {batch} has {n} cells, fewer than genes.min_batch_cells = {min_cells}; it is left out of"
            " the selection"
        )
    if large.empty:
        print("warning: every batch is too small; all cells are used as one batch")
        for c in cells:
            c["batch"] = "all"
        return pd.Series({"all": int(sizes.sum())})
    return large


def unite_genes(paths: list[str], tables: list[pd.DataFrame], share: float) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """Return the genes of all datasets, and the gene of each column of each dataset; print what they share.

    Args:
        paths: of the datasets.
        tables: genes.parquet of each.
        share: of the datasets that must have a gene.

    Returns:
        Genes as of `merge_genes`, with n_datasets, and in attrs["union"] the printed lines; and rows as of
        `match_genes`.
    """
    genes = merge_genes(tables)
    found = [match_steps(genes, table) for table in tables]
    matches = [rows for rows, _ in found]
    genes["n_datasets"] = sum(np.bincount(np.unique(m[m >= 0]), minlength=len(genes)) for m in matches)
    counts = union_counts(genes, matches, [how for _, how in found], share)
    lines = union_lines(counts, paths, tables, share)
    if 0 < counts["n_in_all"] < USUAL_SHARE * min(len(table) for table in tables) and (
        reason := _reason(paths, tables)
    ):
        lines.append(f"  {reason}")
    genes.attrs["union"] = lines
    for line in lines:
        print(line)
    return genes, matches


def _reason(paths: list[str], tables: list[pd.DataFrame]) -> str:
    """Return why the genes of datasets differ from the first one's, for the first of which it is known."""
    first = merge_genes(tables[:1])
    for path, table in zip(paths[1:], tables[1:], strict=True):
        if reason := mismatch(first, table, paths[0], path):
            return reason
    return ""


def select_genes(
    rows: list[dict], cells: list[pd.DataFrame], tables: list[pd.DataFrame], settings: dict, n_threads: int = 1
) -> pd.DataFrame:
    """Return the genes of all datasets, with statistics, rank, and why each is selected.

    Args:
        rows: of the sheet, for each dataset.
        cells: batch and keep of each dataset's cells.
        tables: genes.parquet of each dataset.
        settings: the config's `genes`.

    Returns:
        Indexed by gene: gene_id, symbol, n_datasets, candidate, mean, variance, rank, n_batches,
        normalized_variance, reason, selected.

    Raises:
        InputError: the genes cannot be selected.
    """
    paths = [str(row["path"]) for row in rows]
    genes, matches = unite_genes(paths, tables, settings["min_dataset_share"])
    genes["candidate"] = candidates(
        genes, len(tables), settings["min_dataset_share"], settings["exclude"], partial(_reason, paths, tables)
    )
    sizes = batch_sizes(cells, settings["min_batch_cells"])
    place = np.where(genes["candidate"], np.cumsum(genes["candidate"]) - 1, -1)
    n_candidates = int(genes["candidate"].sum())
    streams = [
        DatasetStream(row, c, np.where(m >= 0, place[m], -1), n_candidates, list(sizes.index))
        for row, c, m in zip(rows, cells, matches, strict=True)
    ]
    statistics, normalized = normalized_variances(
        streams, list(sizes.index), sizes.to_numpy(), n_candidates, settings["span"], n_threads
    )
    if len(normalized) == 0 and n_candidates > settings["n_top"]:
        raise InputError(
            f"variance could not be fitted on mean in any batch, so {settings['n_top']} of {n_candidates} genes cannot"
            f" be selected; give more cells, or set genes.n_top to at least {n_candidates} to take all genes"
        )
    ranks = (
        rank_genes(normalized, settings["n_top"])
        if len(normalized)
        else pd.DataFrame({"rank": np.nan, "n_batches": 0, "normalized_variance": np.nan}, index=statistics.index)
    )
    for name, values in pd.concat([statistics, ranks], axis=1).items():
        genes[name] = np.nan
        genes.loc[genes["candidate"], name] = values.to_numpy(dtype=np.float64)
    genes["reason"] = selection_reasons(genes, settings["n_top"], settings["include"])
    genes["selected"] = genes["reason"] != ""
    missing = missing_lines(genes, paths, matches)
    genes.attrs["union"] = [*genes.attrs["union"], *missing]
    for line in missing:
        print(line)
    return genes


def missing_lines(genes: pd.DataFrame, paths: list[str], matches: list[np.ndarray]) -> list[str]:
    """Return a line for each included gene that datasets lack; it is zero in all of their cells.

    Args:
        genes: with symbol and reason.
        paths: of the datasets.
        matches: gene of each column of each dataset, as of `unite_genes`.
    """
    lines = []
    for place in np.flatnonzero(genes["reason"] == "included"):
        lacking = [path for path, rows in zip(paths, matches, strict=True) if not (rows == place).any()]
        if lacking:
            name = genes["symbol"].iloc[place] or genes.index[place]
            lines.append(
                f"warning: genes.include: {name} is in {len(paths) - len(lacking)} of {len(paths)} datasets; it is zero"
                f" in {listed(map(os.path.basename, lacking))}, so it tells batches apart; leave it out, or give files"
                " that have it"
            )
    return lines


def select_pretrained_genes(
    genes: pd.DataFrame, wanted: dict[str, list[str]], previous_symbols: bool = False
) -> pd.DataFrame:
    """Return the genes with those of pretrained models selected instead, first and in their order.

    Args:
        genes: of `select_genes`.
        wanted: genes of each model, as ids or symbols.
        previous_symbols: replace a model's former symbols by today's.

    Raises:
        InputError: two models have different genes, or the reference lacks some of them.
    """
    (first, names), *others = wanted.items()
    for other, other_names in others:
        if other_names != names:
            raise InputError(
                f"config: models: {first} and {other} are pretrained on different genes ({len(names)} and"
                f" {len(other_names)}, or in another order); use them in separate runs"
            )
    rows = match_genes(genes, genes_from_names(names, previous_symbols))
    missing = [name for name, row in zip(names, rows, strict=True) if row < 0]
    if missing:
        raise InputError(
            f"config: models: {first}: pretrained: {len(missing)} of its {len(names)} genes are in no dataset of the"
            f" reference, such as {listed(missing, 5)}{former_symbols_hint(genes, missing)}"
        )
    chosen = genes.iloc[rows]
    if chosen.index.has_duplicates:
        raise InputError(
            f"config: models: {first}: pretrained: two of its genes are the same gene in the reference, such as"
            f" {chosen.index[chosen.index.duplicated()][0]!r}"
        )
    return pd.concat(
        [chosen.assign(reason="pretrained", selected=True), genes.drop(chosen.index).assign(reason="", selected=False)]
    )


def read_batches(path: str, fold: str | None) -> pd.DataFrame:
    """Return batch and keep of a dataset's cells; keep only for those that a fold trains on.

    Args:
        path: of its cells.parquet.
        fold: path of the fold.parquet; None for the whole reference, where names are not read.
    """
    return mark_training_cells(read_cells([path], ["batch", "keep"], named=fold is not None), fold)
