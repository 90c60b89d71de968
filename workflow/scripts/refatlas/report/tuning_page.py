"""The page of tuning in the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from refatlas.io.atomic import read_csv, read_json
from refatlas.report.images import embed_png


def tuning_context(
    trials: Mapping[str, str],
    figures: Mapping[str, str],
    best: Mapping[str, str],
    gains: Mapping[str, str],
    names: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        trials: path of trials.csv by model.
        figures: path of trials.png by model.
        best: path of best.json by model.
        gains: path of gain.json by model.
        names: of the settings that were tried, by model.
    """
    return {
        "models": [
            {
                "name": model,
                "names": list(names[model]),
                "trials": _rows(path),
                "figure": embed_png(figures[model]),
                "best": read_json(best[model]),
                "gain": read_json(gains[model]),
            }
            for model, path in trials.items()
        ]
    }


def _rows(path: str) -> list[dict[str, Any]]:
    """Return the rows of trials.csv, those with the highest macro-F1 first, with None for what is missing."""
    table = read_csv(path).sort_values(["macro_f1", "trial"], ascending=[False, True], na_position="last")
    found = table.astype(object)
    return found.where(found.notna(), None).to_dict("records")
