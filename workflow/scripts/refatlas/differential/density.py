"""Where in a model's latent space the groups of a contrast differ: densities of samples, with samples as replicates.

The density of a sample is the mixture of its cells' posteriors (`refatlas.models.density`). A cell's log ratio is the
mean log density under the samples of the test group minus that under those of the control group. It needs no labels; by
label, the median of the cells is compared with those of all other splits of the samples into groups of these sizes.
"""

import math
from collections.abc import Collection, Mapping
from itertools import combinations, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.differential.abundance import MIN_MEAN_CELLS, TOO_RARE
from refatlas.differential.deseq import ALPHA
from refatlas.differential.design import MIN_SAMPLES
from refatlas.differential.features import ONE_GROUP
from refatlas.differential.participants import FILE, groups_of
from refatlas.errors import InputError

# Cells of a sample that its mixture is made of, drawn at random: more hardly change a density, and cost as much more.
MIXTURE_CELLS = 500
# Own components are left out, so that one cell alone has no density.
MIN_MIXTURE = 2
# Splits of the samples that are compared: all, or so many at random.
MAX_SPLITS = 1000
# Medians of all cells and splits that are computed at once.
AT_ONCE = 2e7
# Beyond a factor of two, cells are counted as of one group's places.
LIMIT = 1.0
CELL_COLUMNS = ["label", "log2_ratio", "test_log_density", "control_log_density"]
LABEL_COLUMNS = ["label", "n_cells", "median_log2_ratio", "share_above", "share_below", "p_value", "fdr", "left_out"]
BOTH_KINDS = (
    "cells of the reference and of queries are compared: a query that is mapped beside the cells that it is like looks"
    " denser there than it is, and the reference less dense"
)


class DensityCells(NamedTuple):
    """The cells of a contrast whose densities are wanted.

    Attributes:
        table: indexed by cell: file (FILE), batch, label and number, that of its sample.
        samples: those that take part, in the order of their numbers.
        notes: what is to be said of the samples that do not.
    """

    table: pd.DataFrame
    samples: pd.DataFrame
    notes: list[str]


class Density(NamedTuple):
    """The densities of a contrast.

    Attributes:
        cells: indexed by cell: CELL_COLUMNS. Log densities are natural logarithms.
        labels: one row a label: LABEL_COLUMNS.
        notes: what is to be said of the samples and the p-values.
    """

    cells: pd.DataFrame
    labels: pd.DataFrame
    notes: list[str]


class Splits(NamedTuple):
    """Ways to split samples into two groups, of which the first is that of the contrast.

    Attributes:
        weights: of each sample in the difference between the means of the groups, shape (n_splits, n_samples).
        complete: whether these are all splits there are, up to the sign; otherwise the others are drawn.
    """

    weights: np.ndarray
    complete: bool


def is_paired(contrast: Mapping[str, Any]) -> bool:
    """Return whether groups are compared within samples that have both."""
    return contrast["design"] is None and contrast["covariates"] == [contrast["sample"]]


def density_cells(
    cells: pd.DataFrame, categories: pd.Series, samples: pd.DataFrame, contrast: Mapping[str, Any]
) -> DensityCells:
    """Return the cells whose densities are wanted, with their labels and samples.

    In a paired design, samples without their pair take no part.

    Args:
        cells: of the contrast, indexed by cell.
        categories: label of the cells that count, as for the abundance, indexed by cell.
        samples: of `pseudobulk_samples`.
        contrast: its settings. Samples of fewer than its min_cells cells are left out.

    Raises:
        InputError: too few samples are left.
    """
    keys = [contrast["sample"], contrast["condition"]]
    columns = list(dict.fromkeys([*keys, FILE, "batch"]))
    table = cells[columns].astype(str).join(categories.rename("label").astype(str), how="inner")
    own = pd.MultiIndex.from_frame(samples[keys]).get_indexer(pd.MultiIndex.from_frame(table[keys]))
    sizes = np.bincount(own[own >= 0], minlength=len(samples))
    used = sizes >= max(contrast["min_cells"], MIN_MIXTURE)
    notes = [f"samples of too few cells are left out of the densities: {n}"] if (n := int((~used).sum())) else []
    if is_paired(contrast):
        names = samples[contrast["sample"]]
        whole = used & (names.where(used).map(names[used].value_counts()) == 2).to_numpy()
        if n := int((used & ~whole).sum()):
            notes.append(f"samples of one group alone take no part in the densities, which are compared in pairs: {n}")
        used = whole
    _require_samples(samples[used], contrast)
    numbers = np.where(used, used.cumsum() - 1, -1)[own]
    found = table.assign(number=numbers)[[FILE, "batch", "label", "number"]]
    return DensityCells(found[(own >= 0) & (numbers >= 0)], samples[used].reset_index(drop=True), notes)


def _require_samples(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> None:
    sizes = {group: int((samples[contrast["condition"]] == group).sum()) for group in groups_of(contrast)}
    if min(sizes.values()) < MIN_SAMPLES:
        have = " and ".join(f"{n} of {group}" for group, n in sizes.items())
        raise InputError(
            f"density: {have} samples have min_cells ({contrast['min_cells']}) cells whose quality suffices"
            f"{', and their pair' if is_paired(contrast) else ''}; need {MIN_SAMPLES} of each group: lower min_cells,"
            " add samples, or leave density out"
        )


def draw_components(numbers: np.ndarray, seed: int, n_cells: int = MIXTURE_CELLS) -> np.ndarray:
    """Return the rows of the cells that make the samples' mixtures, in order of the samples.

    Args:
        numbers: of each cell's sample. seed: of the draws. n_cells: most cells of a sample.
    """
    parts = []
    for number in range(int(numbers.max()) + 1):
        rows = np.random.default_rng([seed, number]).permutation(np.flatnonzero(numbers == number))
        parts.append(np.sort(rows[:n_cells]))
    return np.concatenate(parts)


def compare_density(
    logs: np.ndarray, cells: DensityCells, contrast: Mapping[str, Any], datasets: Collection[str], seed: int
) -> Density:
    """Return where the groups differ in density.

    Args:
        logs: log density of each sample at each cell, shape (n_cells, n_samples).
        cells: of `density_cells`. contrast: its settings.
        datasets: names of the files that make the reference; others are queries.
        seed: of the splits.
    """
    groups = [(cells.samples[contrast["condition"]] == group).to_numpy() for group in groups_of(contrast)]
    test, control = (logs[:, group].mean(axis=1) for group in groups)
    labels = cells.table["label"].astype("category")
    values = [labels, (test - control) / math.log(2), test, control]
    table = pd.DataFrame(dict(zip(CELL_COLUMNS, values, strict=True)), index=cells.table.index.rename("cell"))
    splits = sample_splits(cells.samples, contrast, seed)
    rows = []
    for label in labels.cat.categories:
        own = (labels == label).to_numpy()
        ratios = table["log2_ratio"].to_numpy()[own]
        rare = own.sum() < MIN_MEAN_CELLS * len(cells.samples)
        p_value = np.nan if splits is None or rare else permuted_p(logs[own], splits)
        shares = (ratios > LIMIT).mean(), (ratios < -LIMIT).mean()
        rows.append([label, own.sum(), np.median(ratios), *shares, p_value, np.nan, TOO_RARE if rare else ""])
    found = pd.DataFrame(rows, columns=LABEL_COLUMNS)
    tested = found["p_value"].notna()
    if tested.any():
        from scipy import stats

        found.loc[tested, "fdr"] = stats.false_discovery_control(found.loc[tested, "p_value"])
    notes = [*_notes_on_cells(cells, contrast, datasets), *cells.notes, _note_on_p(splits, int(tested.sum()))]
    return Density(table, found, notes)


def sample_splits(samples: pd.DataFrame, contrast: Mapping[str, Any], seed: int) -> Splits | None:
    """Return the splits of the samples that would be as likely, if the groups did not differ.

    Samples are exchanged between the groups, in a paired design within each pair. With other covariates there is none.

    Args:
        samples: that take part. contrast: its settings. seed: of the draws, where there are more than MAX_SPLITS.
    """
    is_test = (samples[contrast["condition"]] == groups_of(contrast)[0]).to_numpy()
    random = np.random.default_rng([seed, len(samples)])
    if is_paired(contrast):
        pairs = samples[contrast["sample"]].factorize()[0]
        exchanged, complete = _exchanged_pairs(int(pairs.max()) + 1, random)
        masks = is_test ^ exchanged[:, pairs]
    elif contrast["design"] is None and not contrast["covariates"]:
        masks, complete = _regrouped(is_test, random)
    else:
        return None
    n_test = is_test.sum()
    return Splits(masks / n_test - ~masks / (len(is_test) - n_test), complete)


def _exchanged_pairs(n_pairs: int, random: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return which pairs are exchanged, one row a split, the first none; whether these are all."""
    if 2 ** (n_pairs - 1) <= MAX_SPLITS:
        # To exchange all others instead changes the sign alone, so that the first pair never is.
        return np.array(list(product([False], *[[False, True]] * (n_pairs - 1)))), True
    return np.vstack([np.zeros((1, n_pairs), bool), random.random((MAX_SPLITS, n_pairs)) < 0.5]), False


def _regrouped(is_test: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, bool]:
    """Return which samples are of the test group, one row a split, the first as they are; whether these are all."""
    n, n_test = len(is_test), int(is_test.sum())
    symmetric = 2 * n_test == n
    if math.comb(n, n_test) // (2 if symmetric else 1) > MAX_SPLITS:
        return np.vstack([is_test, *(random.permutation(is_test) for _ in range(MAX_SPLITS))]), False
    masks = np.array([np.isin(np.arange(n), chosen) for chosen in combinations(range(n), n_test)])
    if symmetric:
        # The opposite of a split changes the sign alone.
        masks = masks[masks[:, 0] == is_test[0]]
    return np.vstack([is_test, masks[(masks != is_test).any(axis=1)]]), True


def permuted_p(logs: np.ndarray, splits: Splits) -> float:
    """Return the share of the splits that have a median log ratio of the cells as far from 0 as the first has.

    Args:
        logs: of a label's cells, shape (n_cells, n_samples). splits: of the samples.
    """
    size = max(int(AT_ONCE // len(logs)), 1)
    parts = np.split(splits.weights, range(size, len(splits.weights), size))
    medians = np.abs(np.concatenate([np.median(logs @ part.T, axis=0) for part in parts]))
    # Equal up to rounding, which depends on the place in a matrix.
    return float((medians >= medians[0] * (1 - 1e-9)).mean())


def _notes_on_cells(cells: DensityCells, contrast: Mapping[str, Any], datasets: Collection[str]) -> list[str]:
    condition = pd.Series(cells.samples[contrast["condition"]].to_numpy()[cells.table["number"]])
    groups = condition.groupby(cells.table["batch"].to_numpy()).nunique()
    notes = [] if (groups > 1).any() else [ONE_GROUP]
    return notes + ([BOTH_KINDS] if cells.table[FILE].isin(list(datasets)).nunique() == 2 else [])


def _note_on_p(splits: Splits | None, n_labels: int) -> str:
    if splits is None:
        return (
            "there are no p-values of the densities: samples cannot be exchanged between the groups under a formula or"
            " covariates other than the sample itself; see the abundance"
        )
    n, smallest = len(splits.weights), 1 / len(splits.weights)
    if splits.complete:
        text = f"samples can be split into such groups in {n:,} ways"
    else:
        text = f"{n - 1:,} of the ways to split samples into such groups were drawn"
    text += f", so that no p-value of the densities is below {smallest:.2g}"
    if smallest >= ALPHA:
        return f"{text}: no label can be significant"
    if (needed := math.ceil(smallest * n_labels / ALPHA)) > 1:
        text += f"; an FDR of {ALPHA:.0%} needs {needed} or more labels with p-values as small"
    return text
