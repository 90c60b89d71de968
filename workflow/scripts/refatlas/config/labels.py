"""What a run can do with the labels that it has: all, or what needs none."""

from collections.abc import Collection
from typing import Any

from refatlas.config.annotation import NamedCluster, named_levels
from refatlas.config.label_map import NO_LABEL, MappedLabel
from refatlas.errors import InputError, listed
from refatlas.models.registry import BASELINE, MODEL_TYPES, whole_models

REMEDY = "set label_key for a dataset, or annotate the clusters"
LABELS_OF_QUERIES = "labels, confidence and verdict of queries"
# An atlas bundle cannot be given labels.
LEFT_OUT_OF_ATLAS = f"left out, because the atlas has no labels: {LABELS_OF_QUERIES}; ask for an atlas with labels"


def has_labels(datasets: dict[str, dict[str, Any]], annotation: list[NamedCluster]) -> bool:
    """Return whether any cell of the reference can have a label: of its dataset, or by the annotation."""
    return any(row["label_keys"] for row in datasets.values()) or named_levels(annotation) > 0


def without_labels(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration without what needs labels, and what was left out, one sentence each.

    Args:
        config: of `complete_config`.
    """
    models = {name: s for name, s in config["models"].items() if not MODEL_TYPES[s["type"]].needs_labels}
    left = [name for name in config["models"] if name not in models]
    notes = [f"model {name}: type {config['models'][name]['type']} is trained with labels" for name in left]
    last = ([name for name in whole_models(models) if name != BASELINE] or [BASELINE])[-1]
    model = config["deliver"]["model"] if config["deliver"]["model"] in models else last
    notes.append(f"{LABELS_OF_QUERIES}, and held-out folds: they need labels of the reference")
    if config["tree"]["models"]:
        notes.append("trees of labels")
    if "tune" in config:
        notes.append("tuning of models")
    if sources := config.get("external_labels"):
        notes.append(f"external labels ({listed(sources)}): they vote for labels of the reference")
    criticism = config.get("criticism", {"models": []})
    checked = [name for name in criticism["models"] if name in models]
    left_out = {"tune", "external_labels"} if checked else {"tune", "external_labels", "criticism"}
    return {
        **{key: value for key, value in config.items() if key not in left_out},
        **({"criticism": {**criticism, "models": checked}} if checked else {}),
        "models": models,
        "deliver": {**config["deliver"], "model": model, "source": "matched"},
        "evaluation": {**config["evaluation"], "folds": 0, "hide": 0},
        "tree": {**config["tree"], "models": [], "file": None, "update": []},
    }, [f"left out, because the reference has no labels: {note}; {REMEDY}" for note in notes]


def levels_of_datasets(datasets: dict[str, dict[str, Any]], mapped: Collection[MappedLabel]) -> dict[str, int]:
    """Return the number of label levels of each dataset: of its own columns, or of the label map if that has more.

    Args:
        mapped: rows of the label map.
    """
    named = [(row.dataset, len(row.names)) for row in mapped if row.names != (NO_LABEL,)]
    return {
        name: max([len(row["label_keys"]), *(n for dataset, n in named if dataset == name)])
        for name, row in datasets.items()
    }


def label_levels(
    datasets: dict[str, dict[str, Any]], annotation: list[NamedCluster], mapped: Collection[MappedLabel]
) -> int:
    """Return the number of label levels of the reference, at least 1."""
    return max([1, named_levels(annotation), *levels_of_datasets(datasets, mapped).values()])


def check_label_levels(
    datasets: dict[str, dict[str, Any]],
    annotation: list[NamedCluster],
    mapped: Collection[MappedLabel],
    path: str | None,
) -> None:
    """Raise an InputError if datasets and annotation have different numbers of label levels.

    Args:
        mapped: rows of the label map.
        path: of the annotation, for the message.
    """
    named = named_levels(annotation)
    for name, n_levels in levels_of_datasets(datasets, mapped).items():
        if named and n_levels and n_levels != named:
            keys = datasets[name]["label_keys"]
            source = listed(keys) if len(keys) == n_levels else "by the label map"
            raise InputError(
                f"{path}: names clusters at {named} label level{'s' if named > 1 else ''}, and dataset {name!r} has"
                f" {n_levels} ({source}); use the same number, as label, label_2 … in the annotation, or set label_key"
                " to '-' for datasets whose own labels are not wanted"
            )
