"""The folds of the held-out evaluation: which batches each holds out, and which label it hides."""

from collections.abc import Iterable
from typing import Any

from refatlas.config.validation import require_name
from refatlas.errors import InputError

# Folds that `auto` makes.
AUTOMATIC = 3
# As in prepare.folds, whose import would make planning need pandas and pyarrow.
LEAST_GROUPS = 3
# Folder of the cells that a fold holds out, below the fold's own folder.
HELD_OUT = "heldout"


def folds(evaluation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the folds by name: which batches each holds out, and which label it hides.

    Batches are named ("batches"), or are those of a numbered fold ("fold" out of "n_folds";
    "automatic" if the number was not asked for). Every hidden label ("hide": its name, or its rank
    by number of cells) is a fold of its own, which holds out the batches of the first fold.

    Args:
        evaluation: the config's `evaluation`.
    """
    requested = evaluation["folds"]
    automatic = {"automatic": True} if requested == "auto" else {}
    if automatic:
        requested = AUTOMATIC
    if isinstance(requested, dict):
        found = {f"fold_{name}": {"batches": batches} for name, batches in requested.items()}
    else:
        found = {f"fold_{i + 1}": {"fold": i, "n_folds": requested, **automatic} for i in range(requested)}
    if not found:
        return {}
    first = next(iter(found.values()))
    return found | {f"hide_{i + 1}": {**first, "hide": label} for i, label in enumerate(_hidden(evaluation["hide"]))}


def _hidden(hide: int | list[str]) -> Iterable[int | str]:
    return range(hide) if isinstance(hide, int) else hide


def calibration_folds(folds: dict[str, dict[str, Any]]) -> list[str]:
    """Return the names of the folds that labels are calibrated on: those that hide no label."""
    return [name for name, fold in folds.items() if "hide" not in fold]


def limit_epochs(settings: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return a model's settings with at most `evaluation.max_epochs` epochs in each stage.

    Without that limit, a stage of training whose epochs follow from the number of cells has those of
    the whole reference, of which the fold has a "share": so three folds cost twice the training at
    most. Surgery sees the held-out cells, and keeps its epochs.
    """
    limit, n_folds = evaluation["max_epochs"], _n_folds(evaluation)
    share = 1 - 1 / max(n_folds, LEAST_GROUPS) if n_folds else 1.0

    def limited(name: str, section: Any) -> Any:
        if not isinstance(section, dict) or "max_epochs" not in section:
            return section
        if limit is not None:
            return {**section, "max_epochs": min(section["max_epochs"] or limit, limit)}
        if section["max_epochs"] or name == "surgery":
            return section
        return {**section, "share": round(share, 4)}

    return {name: limited(name, section) for name, section in settings.items()}


def _n_folds(evaluation: dict[str, Any]) -> int:
    """Return the number of numbered folds; 0 for named batches."""
    requested = evaluation["folds"]
    return AUTOMATIC if requested == "auto" else requested if isinstance(requested, int) else 0


def require_valid_folds(evaluation: dict[str, Any]) -> None:
    """Raise an InputError if folds cannot be made.

    A fold's name cannot be part of a path or is not unique, or a label is hidden but there is no
    fold.
    """
    names = [str(name) for name in evaluation["folds"]] if isinstance(evaluation["folds"], dict) else []
    for name in names:
        require_name(name, "config: evaluation: folds: name")
        if names.count(name) > 1:
            raise InputError(f"config: evaluation: folds: name {name!r} is used twice; names must be unique")
    if evaluation["hide"] and not folds(evaluation):
        raise InputError("config: evaluation: hide needs at least one fold; set folds to 1")
