"""The splits that are held out, by name."""

from refatlas.config.validation import require_name
from refatlas.errors import InputError

# The cells that a fold holds out take a query's place under this name.
HELD_OUT = "heldout"


def folds(evaluation: dict) -> dict[str, dict]:
    """Return the held-out splits by name: which batches each holds out (named, or the number of the
    fold), and which label it hides.

    Every hidden label is a split of its own, with the held-out batches of the first fold.
    """
    asked = evaluation["folds"]
    if isinstance(asked, dict):
        found = {f"fold_{name}": {"batches": batches} for name, batches in asked.items()}
    else:
        found = {f"fold_{i + 1}": {"fold": i, "n_folds": asked} for i in range(asked)}
    if not found:
        return {}
    first = next(iter(found.values()))
    hide = evaluation["hide"]
    return found | {
        f"hide_{i + 1}": {**first, "hide": label}
        for i, label in enumerate(range(hide) if isinstance(hide, int) else hide)
    }


def calibrating(splits: dict[str, dict]) -> list[str]:
    """Return the splits that labels are calibrated on: those that hide nothing."""
    return [name for name, split in splits.items() if "hide" not in split]


def shortened(spec: dict, evaluation: dict) -> dict:
    """Return a model's settings with no stage of training longer than the folds' max_epochs."""
    limit = evaluation["max_epochs"]
    if limit is None:
        return spec
    return {
        key: (
            {**part, "max_epochs": min(part["max_epochs"] or limit, limit)}
            if isinstance(part, dict) and "max_epochs" in part
            else part
        )
        for key, part in spec.items()
    }


def check_folds(evaluation: dict) -> None:
    names = [str(name) for name in evaluation["folds"]] if isinstance(evaluation["folds"], dict) else []
    for name in names:
        require_name(name, "config: evaluation: folds: name")
        if names.count(name) > 1:
            raise InputError(f"config: evaluation: folds: name {name!r} stands twice; names must be unique")
    if evaluation["hide"] and not folds(evaluation):
        raise InputError("config: evaluation: hide needs at least one fold; set folds to 1")
