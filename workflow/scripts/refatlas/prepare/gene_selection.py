"""Highly variable genes of all datasets together (seurat_v3, batch by batch), streamed from the
users' own files.
"""

import re

import numpy as np
import pandas as pd

from refatlas.errors import InputError, listed
from refatlas.io.cell_tables import as_text, read_cells, training_cells
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.genes import match_genes, named_genes, take_genes, unite
from refatlas.prepare.moments import ClippedSums, Moments, ascends

MIN_FITTED_GENES = 50


class Dataset:
    """One dataset as a stream of blocks, with each cell's batch and each column's candidate gene."""

    def __init__(self, row: dict, cells: pd.DataFrame, rows: np.ndarray, n_genes: int, batches: list[str]) -> None:
        self.row, self.rows, self.n_genes = row, rows, n_genes
        codes = pd.Categorical(cells["batch"], categories=batches).codes.astype(np.int64)
        self.codes = np.where(cells["keep"].to_numpy(), codes, -1)
        self.once = len(np.unique(rows[rows >= 0])) == int((rows >= 0).sum())

    def blocks(self):
        """Yield (CSR block, batch code of each cell, gene of each column), -1 for a cell or a
        column that takes no part; columns ascend in each row, and no gene has two.
        """
        for start, block in open_counts(self.row["path"], self.row["layer"], counts_only=True).blocks():
            codes = self.codes[start : start + block.shape[0]]
            if self.once and ascends(block.indices, block.indptr):
                yield block, codes, self.rows
            else:
                yield take_genes(block, self.rows, self.n_genes), codes, np.arange(self.n_genes)


def moments(datasets: list[Dataset], sizes: np.ndarray, n_genes: int, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance by batch and gene, each of shape (n_batches, n_genes)."""
    found = Moments(len(sizes), n_genes, n_threads)
    for dataset in datasets:
        for block in dataset.blocks():
            found.add(*block)
    return found.finish(sizes)


def clipped_sums(datasets: list[Dataset], limits: np.ndarray, n_threads: int) -> tuple[np.ndarray, np.ndarray]:
    """Return sums and sums of squares of values cut to `limits`, by batch and gene, all of shape
    (n_batches, n_genes).
    """
    found = ClippedSums(limits, n_threads)
    for dataset in datasets:
        for block in dataset.blocks():
            found.add(*block)
    return found.finish()


def expected_sd(mean: np.ndarray, variance: np.ndarray, span: float) -> np.ndarray:
    """Return the standard deviation that a gene's mean lets one expect, by loess of log10 variance
    on log10 mean; 1 for constant genes.

    The span is doubled where the fit fails, up to 1.

    Raises:
        InputError: no span fits.
    """
    from skmisc.loess import loess

    varies = variance > 0
    if varies.sum() < MIN_FITTED_GENES:
        raise InputError(f"only {int(varies.sum())} genes vary, need {MIN_FITTED_GENES} to fit variance on mean")
    while True:
        try:
            fit = loess(np.log10(mean[varies]), np.log10(variance[varies]), span=span, degree=2)
            fit.fit()
        except ValueError as error:
            if span >= 1:
                raise InputError(f"variance could not be fitted on mean: {error}") from error
            span = min(2 * span, 1.0)
            print(f"  loess failed ({str(error)[:80]}); trying again with span {span:g}")
            continue
        logarithm = np.zeros(len(mean))
        logarithm[varies] = fit.outputs.fitted_values
        return np.sqrt(10**logarithm)


def normalized_variances(
    datasets: list[Dataset], batches: list[str], sizes: np.ndarray, n_genes: int, span: float, n_threads: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the statistics of all cells and the normalised variance by batch (Stuart 2019), shape
    (n_fitted_batches, n_genes).
    """
    mean, variance = moments(datasets, sizes, n_genes, n_threads)
    sd, fitted = np.ones_like(mean), np.zeros(len(batches), dtype=bool)
    for i, batch in enumerate(batches):
        try:
            sd[i] = expected_sd(mean[i], variance[i], span)
            fitted[i] = True
        except InputError as error:
            print(f"  batch {batch} takes no part: {error}")
    n = sizes[:, None]
    sums, squares = clipped_sums(datasets, sd * np.sqrt(n) + mean, n_threads)
    normalized = (1 / ((n - 1) * np.square(sd))) * ((n * np.square(mean)) + squares - 2 * sums * mean)
    return pooled(mean, variance, sizes), normalized[fitted]


def pooled(mean: np.ndarray, variance: np.ndarray, sizes: np.ndarray) -> pd.DataFrame:
    """Return each gene's mean and variance over the cells of all batches."""
    n, total = sizes[:, None], sizes.sum()
    overall = (n * mean).sum(axis=0) / total
    squares = ((n - 1) * variance + n * (mean - overall) ** 2).sum(axis=0)
    return pd.DataFrame({"mean": overall, "variance": squares / max(total - 1, 1)})


def rank_genes(normalized: np.ndarray, n_top: int) -> pd.DataFrame:
    """Return each gene's median rank over the batches where it is among the `n_top`, and the number
    of these batches, as scanpy does.
    """
    ranks = np.argsort(np.argsort(-normalized, axis=1), axis=1).astype(np.float32)
    n_batches = (ranks < n_top).sum(axis=0)
    ranks[ranks >= n_top] = np.nan
    median = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    return pd.DataFrame({"rank": median, "n_batches": n_batches, "normalized_variance": normalized.mean(axis=0)})


def choose(genes: pd.DataFrame, n_top: int, include: list[str]) -> pd.Series:
    """Return why each gene is selected: "included" by name, "variable" by rank, or "" if it is not;
    at most `n_top` in all.
    """
    reason = pd.Series("", index=genes.index)
    include = [as_text(gene) for gene in include]
    wanted = genes.index.isin(include) | genes["symbol"].isin(include)
    unknown = [gene for gene in include if gene not in genes.index and gene not in set(genes["symbol"])]
    if unknown:
        raise InputError(
            f"config: genes: include: {listed(unknown)} not found in the reference's datasets; give ids or symbols that"
            " they have"
        )
    reason[wanted] = "included"
    candidates = genes[genes["candidate"] & ~wanted].sort_values(
        ["rank", "n_batches"], ascending=[True, False], na_position="last"
    )
    reason[candidates.index[: max(n_top - int(wanted.sum()), 0)]] = "variable"
    return reason


def candidates(genes: pd.DataFrame, n_datasets: int, share: float, exclude: list[str]) -> np.ndarray:
    """Return which genes may be selected: measured in enough datasets, and matched by no pattern."""
    enough = genes["n_datasets"] >= np.ceil(share * n_datasets - 1e-9)
    if not enough.any():
        raise InputError(
            f"no gene is measured in {share:.0%} of the {n_datasets} datasets; do all use the same gene names? Set"
            " gene_key, or lower genes.min_dataset_share"
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


def sizes_of_batches(cells: list[pd.DataFrame], min_cells: int) -> pd.Series:
    """Return the number of kept cells of each batch that is large enough; where none is, of all
    cells as one batch named "all".
    """
    sizes = pd.concat([c.loc[c["keep"], "batch"] for c in cells]).value_counts(sort=False)
    large = sizes[sizes >= min_cells]
    for batch, n in sizes[sizes < min_cells].items():
        print(
            f"warning: batch {batch} has {n} cells, fewer than genes.min_batch_cells = {min_cells}; it takes no part in"
            " the selection"
        )
    if large.empty:
        print("warning: every batch is that small; all cells together count as one batch")
        for c in cells:
            c["batch"] = "all"
        return pd.Series({"all": int(sizes.sum())})
    return large


def select(
    rows: list[dict], cells: list[pd.DataFrame], tables: list[pd.DataFrame], settings: dict, n_threads: int = 1
) -> pd.DataFrame:
    """Return the genes of all datasets, with statistics, rank, and why each is selected.

    Args:
        rows: where each dataset's counts are. cells, tables: what scan_dataset found. settings: the
            config's `genes`.
    """
    genes = unite(tables)
    matches = [match_genes(genes, table) for table in tables]
    genes["n_datasets"] = sum(np.bincount(np.unique(m[m >= 0]), minlength=len(genes)) for m in matches)
    genes["candidate"] = candidates(genes, len(tables), settings["min_dataset_share"], settings["exclude"])
    sizes = sizes_of_batches(cells, settings["min_batch_cells"])
    place = np.where(genes["candidate"], np.cumsum(genes["candidate"]) - 1, -1)
    n_candidates = int(genes["candidate"].sum())
    streams = [
        Dataset(row, c, np.where(m >= 0, place[m], -1), n_candidates, list(sizes.index))
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
    genes["reason"] = choose(genes, settings["n_top"], settings["include"])
    genes["selected"] = genes["reason"] != ""
    return genes


def take_pretrained(genes: pd.DataFrame, wanted: dict[str, list[str]]) -> pd.DataFrame:
    """Return the genes with those of models made elsewhere selected in their place, first and in
    the models' order.

    Args:
        genes: of `select`. wanted: each model's genes, as ids or symbols.

    Raises:
        InputError: two models have different genes, or the reference has not all of them.
    """
    (first, names), *others = wanted.items()
    for other, theirs in others:
        if theirs != names:
            raise InputError(
                f"config: models: {first} and {other} are pretrained on different genes ({len(names)} and"
                f" {len(theirs)}, in order); run them apart"
            )
    rows = match_genes(genes, named_genes(names))
    missing = [name for name, row in zip(names, rows, strict=True) if row < 0]
    if missing:
        raise InputError(
            f"config: models: {first}: pretrained: {len(missing)} of its {len(names)} genes are in no dataset of the"
            f" reference, such as {listed(missing, 5)}"
        )
    chosen = genes.iloc[rows]
    if chosen.index.has_duplicates:
        raise InputError(
            f"config: models: {first}: pretrained: two of its genes are one in the reference, such as"
            f" {chosen.index[chosen.index.duplicated()][0]!r}"
        )
    return pd.concat(
        [chosen.assign(reason="pretrained", selected=True), genes.drop(chosen.index).assign(reason="", selected=False)]
    )


def batches_of(path: str, fold: str | None) -> pd.DataFrame:
    """Return the batch of a dataset's cells, and which of them to keep; the cells' names are read
    where a fold needs them.
    """
    return training_cells(read_cells([path], ["batch", "keep"], named=fold is not None), fold)
