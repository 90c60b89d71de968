"""Pseudobulk samples and their design: who is compared with whom, and whether it can be.

A pseudobulk sample is all cells of one sample and group. A sample that has both groups therefore makes two: with the
sample as a covariate, they are compared within it (a paired design).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from refatlas.differential.participants import FILE, groups_of
from refatlas.errors import InputError, listed, shown
from refatlas.io.cell_tables import SEPARATOR

# Fewer samples of a group have no variance.
MIN_SAMPLES = 2
# Columns of samples.csv beside those of the design.
RESERVED = ("label", "n_cells", "total_counts", "size_factor", "used", "reason", "files", "batches", "place")
# Of abundance_samples.csv, which has no column of the design but the sample and the condition.
OF_ABUNDANCE = ("share",)


class Design(NamedTuple):
    """A design of some pseudobulk samples.

    Attributes:
        matrix: one row a sample, one column a coefficient, of full rank.
        contrast: of the coefficients: the test group minus the control group, shape (n_columns,).
    """

    matrix: pd.DataFrame
    contrast: np.ndarray


def formula_of(contrast: Mapping[str, Any]) -> str:
    """Return the formula of a contrast's design: covariates first, the condition last."""
    if contrast["design"] is not None:
        return contrast["design"]
    return "~ " + " + ".join(_quoted(name) for name in [*contrast["covariates"], contrast["condition"]])


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f"`{name}`"


def design_columns(contrast: Mapping[str, Any]) -> list[str]:
    """Return the columns that the design reads.

    Raises:
        InputError: the design is no formula, or lacks the condition.
    """
    if contrast["design"] is None:
        return [*contrast["covariates"], contrast["condition"]]
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        found = sorted(map(str, Formula(contrast["design"]).required_variables))
    except FormulaicError as error:
        raise InputError(f"design: {contrast['design']!r} is no formula: {shown(error, 300)}") from None
    if contrast["condition"] not in found:
        raise InputError(
            f"design: {contrast['design']!r} has the columns {listed(map(repr, found))}, and not the condition"
            f" {contrast['condition']!r}; add it"
        )
    if unknown := [column for column in contrast["continuous"] if column not in found]:
        raise InputError(f"continuous: {unknown[0]!r} is not in the design {contrast['design']!r}; add it there")
    return found


def pseudobulk_samples(cells: pd.DataFrame, contrast: Mapping[str, Any], columns: Iterable[str]) -> pd.DataFrame:
    """Return one row for each sample and group: sample, the design's columns, files, batches and n_cells.

    In order of sample and group, whichever group is the test: sums of floats depend on the order, and swapped groups
    must flip signs exactly.

    Args:
        cells: of `read_participants`.
        columns: of the design.

    Raises:
        InputError: a column of the design has several values within a sample and group, or one that
            should be a number is not.
    """
    sample, condition = contrast["sample"], contrast["condition"]
    others = [column for column in columns if column not in (sample, condition)]
    for file, names, reserved in (
        ("samples.csv", (sample, condition, *others), RESERVED),
        ("abundance_samples.csv", (sample, condition), OF_ABUNDANCE),
    ):
        if taken := [column for column in names if column in reserved]:
            raise InputError(f"column {taken[0]!r} has the name of a column of {file}; rename it in the file")
    groups = cells.astype(str).groupby([sample, condition], sort=True)
    found = groups.size().rename("n_cells").to_frame()
    for column, name in ((FILE, "files"), ("batch", "batches")):
        found[name] = groups[column].agg(lambda values: SEPARATOR.join(sorted(set(values))))
    for column in others:
        n_values = groups[column].nunique()
        if (n_values > 1).any():
            worst = n_values.idxmax()
            raise InputError(
                f"column {column!r} has {n_values.max()} values in sample {worst[0]!r} of group {worst[1]!r}"
                f" ({listed(sorted(set(groups[column].get_group(worst))), 4)}); a covariate is constant within a"
                " sample and group: correct it, or leave it out"
            )
        found[column] = groups[column].first()
    found = found.reset_index()
    for column in contrast["continuous"]:
        found[column] = _numbers(found[column], column)
    return found


def _numbers(values: pd.Series, column: str) -> pd.Series:
    found = pd.to_numeric(values, errors="coerce")
    if found.isna().any():
        raise InputError(
            f"continuous: column {column!r} has {values[found.isna()].iloc[0]!r}, which is no number; leave it out of"
            " continuous to take it as categories"
        )
    return found.astype(float)


def require_sound(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> list[str]:
    """Return warnings on a design over all samples.

    Raises:
        InputError: a group has fewer than MIN_SAMPLES samples, the condition is confounded, or the design
            cannot be fitted.
    """
    counts = samples[contrast["condition"]].value_counts()
    for group in groups_of(contrast):
        if counts[group] < MIN_SAMPLES:
            of_group = samples.loc[samples[contrast["condition"]] == group, contrast["sample"]]
            raise InputError(
                f"group {group!r} has {counts[group]} sample by column {contrast['sample']!r}"
                f" ({listed(of_group)}); need {MIN_SAMPLES} biological replicates of each group. Cells of one sample"
                " are no replicates. If another column tells the samples apart, name it as sample"
            )
    warnings = confounding(samples, contrast)
    known = contrast["condition"] in ("dataset", "query", "batch")
    if warnings and not (contrast["allow_confounded"] or known):
        raise InputError(
            f"{warnings[0]}; compare groups within files and batches, or set allow_confounded: true if it is known"
            " that these do not differ in anything else"
        )
    fit_design(samples, contrast)
    return warnings + _sample_notes(samples, contrast)


def confounding(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each of file and batch that has one group alone, though it has several samples.

    One file or batch for each sample is usual: then the samples are the replicates.
    """
    found = []
    for kind in ("files", "batches"):
        places = samples.assign(place=samples[kind].str.split(SEPARATOR, regex=False)).explode("place")
        places = places.groupby("place")[contrast["condition"]].agg(["nunique", "size"])
        if (places["nunique"] == 1).all() and (places["size"] > 1).any() and len(places) < len(samples):
            found.append(
                f"condition {contrast['condition']!r} is confounded with the {kind} ({listed(places.index, 6)}): none"
                " has both groups, so that differences between them look like differences between the groups"
            )
    return found


def _sample_notes(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> list[str]:
    """Return notes on samples that have both groups, or are in several files."""
    names = samples[contrast["sample"]]
    both = sorted(set(names[names.duplicated()]))
    notes = []
    if both and contrast["design"] is None and contrast["sample"] not in contrast["covariates"]:
        notes.append(
            f"samples with both groups: {listed(both)}; with {contrast['sample']!r} among the covariates, the groups"
            " would be compared within them"
        )
    shared = samples[samples["files"].str.contains(SEPARATOR, regex=False)]
    if len(shared):
        notes.append(
            f"samples of one name in several files are taken as one sample: {listed(shared[contrast['sample']])}"
        )
    return notes


def fit_design(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> Design:
    """Return the design of some of the samples.

    Args:
        samples: of `pseudobulk_samples`, or some of its rows.

    Raises:
        InputError: the formula cannot be evaluated, the effect of the condition is not one number, or
            it cannot be told apart from other columns.
    """
    test, control = groups_of(contrast)
    table = _typed(samples, contrast)
    matrix, of_groups = _matrices(formula_of(contrast), table, contrast["condition"], (test, control))
    differences = of_groups[0].to_numpy() - of_groups[1].to_numpy()
    if not np.allclose(differences, differences[0]):
        raise InputError(
            f"design: in {formula_of(contrast)!r}, the effect of {contrast['condition']!r} depends on other columns"
            " (an interaction), so that it is not one number; leave the interaction out, or make a contrast for each"
            " of their values"
        )
    _require_full_rank(matrix, samples, contrast)
    if len(matrix) <= matrix.shape[1]:
        raise InputError(
            f"the design {formula_of(contrast)!r} has {matrix.shape[1]} coefficients for {len(matrix)} samples, which"
            " leaves none to estimate the variance; leave out covariates"
        )
    return Design(matrix, differences[0])


def _typed(samples: pd.DataFrame, contrast: Mapping[str, Any]) -> pd.DataFrame:
    """Return the columns of a design: categories in order, and numbers; those of covariates are scaled."""
    columns = {}
    for column in design_columns(contrast):
        values = samples[column]
        if column not in contrast["continuous"]:
            levels = sorted(groups_of(contrast)) if column == contrast["condition"] else sorted(set(values))
            columns[column] = pd.Categorical(values, categories=levels)
        elif contrast["design"] is not None:
            columns[column] = values.to_numpy()
        else:
            centered = values.to_numpy() - values.mean()
            columns[column] = centered / (np.abs(centered).max() or 1)
    return pd.DataFrame(columns, index=samples.index)


def _matrices(
    formula: str, table: pd.DataFrame, condition: str, groups: tuple[str, str]
) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Return the design matrix, and as it would be if all samples had one group, for both groups."""
    from formulaic import model_matrix
    from formulaic.errors import FormulaicError

    try:
        matrix = model_matrix(formula, table, context={})
        levels = table[condition].cat.categories
        changed = [table.assign(**{condition: pd.Categorical([group] * len(table), levels)}) for group in groups]
        found = [pd.DataFrame(matrix.model_spec.get_model_matrix(t, context={})) for t in changed]
    except FormulaicError as error:
        raise InputError(f"design: {formula!r} cannot be evaluated: {shown(error, 300)}") from None
    return pd.DataFrame(matrix).astype(float), [part.astype(float) for part in found]


def _require_full_rank(matrix: pd.DataFrame, samples: pd.DataFrame, contrast: Mapping[str, Any]) -> None:
    values = matrix.to_numpy()
    if np.linalg.matrix_rank(values) == values.shape[1]:
        return
    condition = contrast["condition"]
    for column in design_columns(contrast):
        if column != condition and column not in contrast["continuous"] and _determines(samples, column, condition):
            raise InputError(
                f"condition {condition!r} is confounded with {column!r}: each value of {column!r} has one group alone"
                f" ({_cross(samples, column, condition)}), so that the two cannot be told apart; leave {column!r} out"
                " of the design, or use samples that have both groups within it"
            )
    ranks = [np.linalg.matrix_rank(values[:, : i + 1]) for i in range(values.shape[1])]
    dependent = [name for i, name in enumerate(matrix) if ranks[i] == (ranks[i - 1] if i else 0)]
    raise InputError(
        f"the design {formula_of(contrast)!r} cannot be fitted: what {listed(map(repr, dependent))} would add follows"
        f" from its other columns together ({listed(map(repr, matrix.columns), 12)}); leave one of them out"
    )


def _determines(samples: pd.DataFrame, column: str, condition: str) -> bool:
    return not samples[[column, condition]].drop_duplicates()[column].duplicated().any()


def _cross(samples: pd.DataFrame, column: str, condition: str) -> str:
    """Return which values of a column each group has, for a message."""
    values = samples.groupby(condition)[column].unique()
    return "; ".join(f"{group}: {listed(sorted(found), 4)}" for group, found in values.items())
