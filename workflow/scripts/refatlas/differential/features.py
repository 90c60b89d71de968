"""Which gene programs or proteins differ between the groups of a contrast, within each label.

What a model says of the cells of a sample is averaged, so that samples are the replicates, and the means are compared
by linear models with moderated variances (limma: Smyth 2004).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.differential.comparison import label_samples
from refatlas.differential.deseq import ALPHA
from refatlas.differential.design import MIN_SAMPLES, fit_design
from refatlas.differential.moderated import moderated_tests, t_tests
from refatlas.differential.participants import groups_of
from refatlas.errors import InputError, listed

NUMBERS = ["test_mean", "control_mean", "difference", "standard_error", "statistic", "p_value", "fdr"]
COLUMNS = ["label", "feature", "test_samples", "control_samples", *NUMBERS]
ONE_GROUP = (
    "no batch has cells of both groups: the model takes a difference between batches for technical, and the changes"
    " may be smaller here than they are"
)


class Features(NamedTuple):
    """The results of a contrast among the features of a model.

    Attributes:
        table: one row for each label and tested feature: COLUMNS.
        samples: one row for each label, sample and group: of `label_samples`.
        labels: one row a label: left_out (why; "" if it was tested), tested, and how many differ.
        notes: what is to be said of the model and the groups.
    """

    table: pd.DataFrame
    samples: pd.DataFrame
    labels: pd.DataFrame
    notes: list[str]


def where_measured(values: pd.DataFrame, batches: pd.Series, measured: pd.DataFrame) -> pd.DataFrame:
    """Return proteins without the values that a model imputed, because the cell's batch did not measure the protein.

    Args:
        values: cells × proteins. batches: of the cells.
        measured: batches × proteins, boolean.
    """
    known = measured.reindex(index=batches.astype(str), columns=values.columns, fill_value=False)
    return values.where(known.to_numpy(bool))


def compare_features(
    values: pd.DataFrame, cells: pd.DataFrame, labels: pd.Series, samples: pd.DataFrame, contrast: Mapping[str, Any]
) -> Features:
    """Return which features differ between the groups within each label.

    A sample in which a feature was measured in fewer than min_cells cells is left out for that feature. The FDR is
    over the features of a label.

    Args:
        values: cells × features, on the scale whose means are compared.
        cells: of the contrast, indexed by cell.
        labels: of cells, indexed by cell; missing for those that take no part.
        samples: of `pseudobulk_samples`.
        contrast: its settings.

    Raises:
        InputError: the model has no value for a cell of the contrast, or no label has enough samples.
    """
    table, numbers = label_samples(cells, labels, samples, contrast)
    if len(missing := numbers.index.difference(values.index)):
        raise InputError(f"the model has no values of {len(missing):,} cells ({listed(missing, 3)}); run it again")
    means = _means(values.loc[numbers.index], numbers, contrast["min_cells"]).reindex(table.index)
    found, rows = [], []
    for label, part in table.groupby("label", sort=True):
        own = part[part["used"]]
        tests = pd.concat([*_tests_of(means.loc[own.index], own, contrast), pd.DataFrame(columns=COLUMNS[1:])])
        reason = "" if len(tests) else f"fewer than {MIN_SAMPLES} samples of a group, or a design that cannot be fitted"
        differ = tests["fdr"].astype(float) < ALPHA
        higher = int((differ & (tests["difference"] > 0)).sum())
        rows.append([label, reason, len(tests), higher, int(differ.sum()) - higher])
        found.append(tests.assign(label=label))
    columns = ["label", "left_out", "tested", "higher_in_test", "lower_in_test"]
    summary = pd.DataFrame(rows, columns=columns)
    if not summary["tested"].any():
        raise InputError(f"no label has {MIN_SAMPLES} samples of {contrast['min_cells']} cells in each group")
    tested = pd.concat(found, ignore_index=True)[COLUMNS].astype(dict.fromkeys(NUMBERS, float))
    return Features(tested, table, summary, _notes(cells, contrast))


def _means(values: pd.DataFrame, numbers: pd.Series, min_cells: int) -> pd.DataFrame:
    """Return the mean of each sample's cells with a value, samples × features; missing for fewer than min_cells.

    Args:
        values: cells × features, missing where not measured. numbers: of the sample of each cell.
    """
    of_samples = values.groupby(numbers.to_numpy())
    return of_samples.mean().where(of_samples.count() >= min_cells)


def _tests_of(means: pd.DataFrame, samples: pd.DataFrame, contrast: Mapping[str, Any]) -> Iterator[pd.DataFrame]:
    """Yield the tests of a label's features, those of one set of samples at a time, with one FDR over all."""
    parts = []
    for used, names in _by_samples(means):
        own = samples[used]
        groups = [(own[contrast["condition"]] == group).to_numpy() for group in groups_of(contrast)]
        if min(group.sum() for group in groups) < MIN_SAMPLES:
            continue
        try:
            design = fit_design(own, contrast)
        except InputError:
            # Without these samples a covariate may determine the condition. The label is then left out.
            continue
        y = means.loc[used, names].to_numpy(np.float64)
        result = moderated_tests(y, design)
        statistic, p_value, _ = t_tests(result)
        test, control = (y[group].mean(axis=0) for group in groups)
        numbers = [test, control, result.effect, result.standard_error, statistic, p_value]
        part = pd.DataFrame(dict(zip(NUMBERS, numbers, strict=False)))
        sizes = {"test_samples": int(groups[0].sum()), "control_samples": int(groups[1].sum())}
        parts.append(part.assign(feature=names, **sizes))
    if parts:
        yield _with_fdr(pd.concat(parts, ignore_index=True))


def _with_fdr(tests: pd.DataFrame) -> pd.DataFrame:
    from scipy import stats

    found = tests.assign(fdr=stats.false_discovery_control(tests["p_value"]))
    return found.sort_values(["p_value", "feature"], kind="stable")[COLUMNS[1:]]


def _by_samples(means: pd.DataFrame) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Yield masks of samples, and the features that these and no others have measured."""
    patterns: dict[bytes, list[str]] = {}
    known = means.notna()
    for name in means.columns:
        patterns.setdefault(known[name].to_numpy().tobytes(), []).append(name)
    for pattern, names in patterns.items():
        yield np.frombuffer(pattern, dtype=bool), names


def _notes(cells: pd.DataFrame, contrast: Mapping[str, Any]) -> list[str]:
    groups = cells.astype(str).groupby("batch")[contrast["condition"]].nunique()
    return [] if (groups > 1).any() else [ONE_GROUP]
