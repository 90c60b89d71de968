"""Which labels grow or shrink between the groups of a contrast: the composition of samples.

Counts of cells by sample and label are compared by linear models on two scales, with moderated variances (limma: Smyth
2004). Of the shares (arcsine of the square root, as propeller: Phipson 2022), one label that grows makes all others
fall. Relative to the other labels (centred log-ratios, whose effects are centred at the median over labels; LinDA, Zhou
2022, takes the mode), it does not, as long as fewer than half of the labels change.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.differential.design import MIN_SAMPLES, Design, fit_design
from refatlas.differential.moderated import Moderated, moderated_tests, t_tests
from refatlas.differential.participants import groups_of
from refatlas.errors import InputError
from refatlas.io.labels_csv import ASSIGNED, read_labels

# Added to every number of cells, so that the logarithm of none is of zero.
PSEUDOCOUNT = 0.5
# Labels of fewer cells by sample, on average, are too rare: their zeros would decide.
MIN_MEAN_CELLS = 1.0
# With fewer samples of a group, only large changes are found.
FEW_SAMPLES = 4
LOW_QUALITY, UNLABELLED = "low_quality", "(unlabelled)"
TOO_RARE = "fewer cells than one a sample"
TEST_COLUMNS = ["share_statistic", "share_p_value", "share_fdr"]
TEST_COLUMNS += ["relative_log2_ratio", "relative_statistic", "relative_p_value", "relative_fdr"]
ALONE = "no other label has enough cells to compare it with"


class Abundance(NamedTuple):
    """The composition of a contrast's samples.

    Attributes:
        labels: one row a label: shares, and the tests of the share and relative to other labels.
        samples: one row for each sample, group and label: n_cells, share.
        notes: what is to be said of the samples.
    """

    labels: pd.DataFrame
    samples: pd.DataFrame
    notes: list[str]


def reference_categories(cells: pd.DataFrame) -> pd.Series:
    """Return the category of the cells of a dataset that were kept: the label, or that there is none.

    Args:
        cells: indexed by cell, with keep and, if the dataset has labels, label.
    """
    kept = cells[cells["keep"]]
    labels = kept["label"].astype(object) if "label" in kept else pd.Series(None, index=kept.index, dtype=object)
    return labels.where(labels.notna(), UNLABELLED)


def query_categories(path: str, cells: pd.DataFrame, status: str) -> pd.Series:
    """Return the category of the cells of a query but those of low quality: the label, or the status in brackets.

    Args:
        path: of its labels.csv. cells: its cells.parquet, indexed by cell. status: of the contrast; "any" takes the
            label of all cells.
    """
    table = read_labels(path).loc[cells["barcode"]].set_axis(cells.index)
    table = table[table["status"] != LOW_QUALITY]
    has_label = table["status"].eq(ASSIGNED) if status == ASSIGNED else pd.Series(True, index=table.index)
    return table["label"].where(has_label, "(" + table["status"] + ")")


def count_categories(
    cells: pd.DataFrame, categories: pd.Series, samples: pd.DataFrame, contrast: Mapping[str, Any]
) -> pd.DataFrame:
    """Return the numbers of cells: one row for each of `samples`, one column a category.

    Args:
        cells: of the contrast, indexed by cell.
        categories: of the cells that count, indexed by cell.
        samples: of `pseudobulk_samples`.
    """
    keys = [contrast["sample"], contrast["condition"]]
    found = cells[list(dict.fromkeys(keys))].astype(str).join(categories.rename("label"), how="inner")
    table = pd.crosstab([found[key] for key in keys], found["label"].astype(str))
    wanted = pd.MultiIndex.from_frame(samples[keys])
    return table.reindex(wanted, fill_value=0).set_axis(samples.index)


def compare_abundance(counts: pd.DataFrame, samples: pd.DataFrame, contrast: Mapping[str, Any]) -> Abundance:
    """Return which labels differ in abundance between the groups.

    Args:
        counts: numbers of cells, shape (n_samples, n_labels).
        samples: in the same order, with the columns of the design.
        contrast: its settings. Samples of fewer than its min_cells cells are left out.

    Raises:
        InputError: too few samples are left, or their design cannot be fitted.
    """
    enough = counts.sum(axis=1) >= contrast["min_cells"]
    own, used = samples[enough], counts[enough]
    sizes = {group: int((own[contrast["condition"]] == group).sum()) for group in groups_of(contrast)}
    if min(sizes.values()) < MIN_SAMPLES:
        have = " and ".join(f"{n} of {group}" for group, n in sizes.items())
        raise InputError(
            f"{have} samples have min_cells ({contrast['min_cells']}) cells whose quality suffices; need {MIN_SAMPLES}"
            " of each group to compare the abundance of labels: lower min_cells, or add samples"
        )
    tests = abundance_tests(used.to_numpy(), fit_design(own, contrast))
    shares = used.div(used.sum(axis=1), axis=0)
    of_groups = [shares[(own[contrast["condition"]] == group).to_numpy()] for group in groups_of(contrast)]
    test, control = (part.mean().to_numpy() for part in of_groups)
    labels = pd.DataFrame(
        {
            "label": used.columns,
            "n_cells": used.sum().to_numpy(),
            "test_samples": len(of_groups[0]),
            "control_samples": len(of_groups[1]),
            "test_share": test,
            "control_share": control,
            # A difference, whose sign flips exactly with the groups; missing for a label that a group lacks.
            "share_log2_ratio": _log2(test) - _log2(control),
        }
    )
    return Abundance(labels.join(tests), _long(counts, samples, enough, contrast), _notes(sizes, samples[~enough]))


def abundance_tests(counts: np.ndarray, design: Design) -> pd.DataFrame:
    """Return the tests of both scales, one row a label; missing for labels that are too rare.

    Args:
        counts: shape (n_samples, n_labels).
        design: of the samples.

    Returns:
        share_statistic, share_p_value, share_fdr; relative_log2_ratio, relative_statistic, relative_p_value,
        relative_fdr; left_out (why; "" if it was tested). Above 0: more in the test group.
    """
    rare = counts.mean(axis=0) < MIN_MEAN_CELLS
    reason = np.where(rare, TOO_RARE, "" if (~rare).sum() > 1 else ALONE)
    tested = reason == ""
    found = pd.DataFrame(np.nan, index=range(counts.shape[1]), columns=TEST_COLUMNS)
    if tested.any():
        share, relative = share_effects(counts, tested, design), relative_effects(counts, tested, design)
        columns = [*t_tests(share), relative.effect / np.log(2), *t_tests(relative)]
        found.loc[tested, TEST_COLUMNS] = np.column_stack(columns)
    return found.assign(left_out=reason)


def share_effects(counts: np.ndarray, tested: np.ndarray, design: Design) -> Moderated:
    """Return moderated tests of the tested labels' shares of all cells: of the arcsine of their square root."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    return moderated_tests(np.arcsin(np.sqrt(shares[:, tested])), design)


def relative_effects(counts: np.ndarray, tested: np.ndarray, design: Design) -> Moderated:
    """Return moderated tests of centred log-ratios of the tested labels, against the median of their effects.

    The variance depends on the number of cells: see `moderated_tests`. The centred log-ratios have the variance of a
    mean over labels in them; that of a median is greater by π / 2.
    """
    own = counts[:, tested]
    logs = np.log(own + PSEUDOCOUNT)
    found = moderated_tests(logs - logs.mean(axis=1, keepdims=True), design, own.mean(axis=0))
    of_median = (np.pi / 2 - 1) * np.median(found.standard_error**2) / own.shape[1]
    return found._replace(
        effect=found.effect - np.median(found.effect), standard_error=np.sqrt(found.standard_error**2 + of_median)
    )


def _log2(shares: np.ndarray) -> np.ndarray:
    return np.log2(shares, out=np.full_like(shares, np.nan), where=shares > 0)


def _long(counts: pd.DataFrame, samples: pd.DataFrame, enough: pd.Series, contrast: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row for each sample, group and label."""
    keys = [contrast["sample"], contrast["condition"]]
    sizes = counts.sum(axis=1)
    parts = [
        samples[keys].assign(
            label=label,
            n_cells=counts[label],
            # A sample without any such cell has no shares.
            share=(counts[label] / sizes).where(sizes > 0),
            used=enough,
        )
        for label in counts
    ]
    return pd.concat(parts, ignore_index=True)


def _notes(sizes: Mapping[str, int], left_out: pd.DataFrame) -> list[str]:
    notes = []
    if min(sizes.values()) < FEW_SAMPLES:
        have = " and ".join(f"{n} of {group}" for group, n in sizes.items())
        notes.append(
            f"{have} samples are few: only large changes of abundance can be found, and a label that is not found"
            " may well have changed"
        )
    if len(left_out):
        notes.append(f"samples of too few cells are left out of the abundance: {len(left_out)}")
    return notes
