"""Whether a contrast can be made, decided before any model is trained."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pandas as pd

from refatlas.differential.design import design_columns, formula_of, pseudobulk_samples, require_sound
from refatlas.differential.participants import Source, read_participants
from refatlas.errors import InputError

COLUMNS = ["barcode", "batch", "keep"]


@contextmanager
def of_contrast(name: str) -> Iterator[None]:
    """Put the place in the configuration before the message of an InputError of the block."""
    try:
        yield
    except InputError as error:
        raise InputError(f"config: differential: contrasts: {name}: {error}") from None


def plan_contrast(
    name: str, sources: Mapping[str, Source], contrast: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Return the cells of a contrast, its pseudobulk samples over all labels, and notes and warnings.

    Args:
        name: of the contrast.
        sources: by their name in the sheet.
        contrast: its settings.

    Raises:
        InputError: see `read_participants`, `pseudobulk_samples` and `require_sound`.
    """
    with of_contrast(name):
        columns = design_columns(contrast)
        cells, notes = read_participants(sources, contrast, columns)
        samples = pseudobulk_samples(cells, contrast, columns)
        warnings = require_sound(samples, contrast)
    return cells, samples, {"design": formula_of(contrast), "warnings": warnings, "notes": notes}


def read_sources(
    rows: Mapping[str, Mapping[str, Any]], datasets: Mapping[str, str], queries: Mapping[str, str]
) -> dict[str, Source]:
    """Return the files whose cells may take part, datasets first.

    Args:
        rows: of the sheets, of "datasets" and "queries".
        datasets, queries: path of cells.parquet, by name.

    Raises:
        InputError: a dataset and a query have the same name, which tells cells and files apart.
    """
    if both := sorted(set(datasets) & set(queries)):
        raise InputError(f"{both[0]!r} is the name of a dataset and of a query; rename the query, to tell them apart")
    return {
        name: Source(rows[kind][name], pd.read_parquet(path, columns=COLUMNS), kind == "queries")
        for kind, paths in (("datasets", datasets), ("queries", queries))
        for name, path in paths.items()
    }
