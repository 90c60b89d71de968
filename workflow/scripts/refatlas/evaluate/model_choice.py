"""Which model and settings for an atlas: what is known of each model of a run, side by side."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from refatlas.errors import listed
from refatlas.evaluate.cluster_overlap import Clusters, batch_agreement, match_clusters, match_labels
from refatlas.evaluate.model_remarks import MIXING, TOTALS, mean_ranks, remarks
from refatlas.evaluate.transfer_summary import ALL_FOLDS
from refatlas.io.atomic import read_csv
from refatlas.models.registry import MODEL_TYPES

COLUMNS = [
    "model",
    "type",
    "settings",
    "epochs",
    "train_seconds",
    "train_peak_mb",
    "device",
    *TOTALS,
    *MIXING,
    "resolution",
    "n_clusters",
    "stability",
    "stability_low",
    "stability_high",
    "batch_agreement",
    "other_agreement",
    "n_only_clusters",
    "only_cells",
    "only_clusters",
    "n_lost_labels",
    "lost_labels",
    "held_out_source",
    "macro_f1",
    "macro_f1_low",
    "macro_f1_high",
    "accuracy",
    "mean_rank",
    "remarks",
]
# Names in a cell of the table; model_clusters.csv and model_labels.csv have all.
MAX_NAMED = 10


@dataclass(frozen=True)
class ModelResults:
    """What a run has recorded of one model of the reference.

    Attributes:
        settings: with all defaults.
        record: of the job that trained it; empty if there is none.
        training: training.csv, one row per stage and epoch.
        stability: cluster_stability.csv; None without clusters.
    """

    settings: Mapping[str, Any]
    record: Mapping[str, Any]
    training: pd.DataFrame
    stability: pd.DataFrame | None = None

    @property
    def suggested(self) -> dict[str, Any]:
        """The row of the suggested resolution; empty without clusters."""
        if self.stability is None:
            return {}
        return self.stability[self.stability["suggested"].astype(bool)].to_dict("records")[0]

    @property
    def resolution(self) -> str:
        """The suggested resolution, as the columns of clusters are named."""
        return f"{self.suggested['resolution']:g}"


def read_models(
    files: Mapping[str, Mapping[str, str]], settings: Mapping[str, Mapping[str, Any]], records: Mapping[str, Any]
) -> dict[str, ModelResults]:
    """Return what is recorded of each model.

    Args:
        files: of each model, paths of training.csv ("training") and, with clusters, of cluster_stability.csv
            ("stability").
        settings: of each model, with all defaults.
        records: record of each model's training; empty where there is none.
    """
    return {
        model: ModelResults(
            settings[model],
            records.get(model, {}),
            read_csv(paths["training"]),
            read_csv(paths["stability"]) if "stability" in paths else None,
        )
        for model, paths in files.items()
    }


def compare_models(
    models: Mapping[str, ModelResults],
    clusters: Clusters,
    cells: pd.DataFrame,
    integration: pd.DataFrame,
    transfer: pd.DataFrame | None = None,
    replicates: Sequence[Sequence[str]] = (),
) -> dict[str, pd.DataFrame]:
    """Return the comparison of all models of a run.

    Rows are ordered by `mean_rank`: the mean of a model's ranks by held-out macro-F1, by the total integration score
    (without labels, by ilisi, pcr_comparison and kbet together), and by the stability of clusters. A score that one
    of the models lacks does not count. The order is no recommendation: `remarks` says at what each model is best, and
    what it loses.

    Args:
        models: what is recorded of each model.
        clusters: of each model; empty if there are none.
        cells: batch of each cell in the order of the clusters, and label if any cell has one.
        integration: integration.csv of all models.
        transfer: transfer.csv; None without evaluation.
        replicates: lists of batches that should be alike; without any, the batches of each dataset should be.

    Returns:
        Tables by name: models (COLUMNS, one row per model), clusters and labels (see `cluster_overlap`).
    """
    labels = cells["label"] if "label" in cells and cells["label"].notna().any() else None
    suggested = {name: found.resolution for name, found in models.items() if name in clusters}
    of_clusters, of_labels = match_clusters(clusters, suggested, labels), match_labels(clusters, labels)
    rows = []
    for name, found in models.items():
        row = {"model": name, **describe_training(name, models), **integration_scores(integration, name)}
        if name in clusters:
            codes = clusters[name][suggested[name]].to_numpy()
            row |= _stability(found) | _agreement(codes, cells["batch"], replicates)
            row |= _only_clusters(of_clusters, name, len(clusters)) | _lost_labels(of_labels, name)
        rows.append(row | held_out_scores(transfer, name))
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    table["mean_rank"] = mean_ranks(table)
    table["remarks"] = remarks(table, {name: found.settings for name, found in models.items()})
    table = table.sort_values("mean_rank", kind="stable", ignore_index=True)
    return {"models": table, "clusters": of_clusters, "labels": of_labels}


def describe_training(name: str, models: Mapping[str, ModelResults]) -> dict[str, Any]:
    """Return type, settings, epochs and costs of one model's training.

    Settings are those that differ from the type's defaults, or between models of the type. Epochs are those of all
    stages.
    """
    found = models[name]
    kind = found.settings["type"]
    same = [flat_settings(other.settings) for other in models.values() if other.settings["type"] == kind]
    own, defaults = flat_settings(found.settings), default_settings(kind)
    shown = [
        setting
        for setting in dict.fromkeys(key for settings in same for key in settings)
        if own.get(setting) != defaults.get(setting) or any(s.get(setting) != own.get(setting) for s in same)
    ]
    return {
        "type": kind,
        "settings": ", ".join(f"{setting} = {_text(own.get(setting))}" for setting in shown),
        "epochs": len(found.training),
        "train_seconds": found.record.get("seconds", np.nan),
        "train_peak_mb": found.record.get("peak_mb", np.nan),
        "device": found.record.get("device", ""),
    }


def flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's settings by "section.setting", without its type."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= {f"{key}.{name}": part for name, part in value.items()} if isinstance(value, Mapping) else {key: value}
    return {key: value for key, value in flat.items() if key != "type"}


def default_settings(kind: str) -> dict[str, Any]:
    """Return the defaults of a type by "section.setting"."""
    sections = MODEL_TYPES[kind].settings_schema().items()
    return {f"{section}.{name}": part.get("default") for section, parts in sections for name, part in parts.items()}


def integration_scores(integration: pd.DataFrame, name: str) -> dict[str, float]:
    """Return the totals and the scores of batch mixing of one model, NaN where there is none."""
    values = integration[integration["model"] == name].set_index("metric")["value"]
    return {metric: float(values.get(metric, np.nan)) for metric in (*TOTALS, *MIXING)}


def held_out_scores(transfer: pd.DataFrame | None, name: str) -> dict[str, Any]:
    """Return the scores of the best source of a model's labels on held-out batches, at the finest level."""
    if transfer is None or transfer.empty:
        return {}
    rows = transfer[(transfer["split"] == ALL_FOLDS["split"]) & (transfer["model"] == name) & (transfer["level"] == 1)]
    rows = rows.dropna(subset="macro_f1")
    if rows.empty:
        return {}
    best = rows.loc[rows["macro_f1"].idxmax()]
    scores = ("macro_f1", "macro_f1_low", "macro_f1_high", "accuracy")
    return {"held_out_source": best["source"], **{score: best[score] for score in scores}}


def _stability(found: ModelResults) -> dict[str, Any]:
    names = ("resolution", "n_clusters", "stability", "stability_low", "stability_high")
    return {name: found.suggested[name] for name in names}


def _agreement(codes: np.ndarray, batches: pd.Series, replicates: Sequence[Sequence[str]]) -> dict[str, float]:
    alike, others = batch_agreement(codes, batches, replicates)
    return {"batch_agreement": alike, "other_agreement": others}


def _only_clusters(table: pd.DataFrame, name: str, n_models: int) -> dict[str, Any]:
    """Return number, cells and names of the clusters that no other model separates; nothing for a single model."""
    if n_models < 2:
        return {}
    rows = table[(table["model"] == name) & table["only_in_model"].astype(bool)]
    rows = rows.sort_values("n_cells", ascending=False, kind="stable")
    named = [
        f"{row.cluster}: {row.n_cells} cells" + (f", {row.label}" if row.label else "") for row in rows.itertuples()
    ]
    return {
        "n_only_clusters": len(rows),
        "only_cells": int(rows["n_cells"].sum()),
        "only_clusters": "; ".join(named[:MAX_NAMED] + ["…"] * (len(named) > MAX_NAMED)),
    }


def _lost_labels(table: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return the labels that are a cluster of another model and not of this one; nothing without labels."""
    if table.empty:
        return {}
    lost = table[(table["model"] == name) & table["lost"].astype(bool)]
    lost = lost.sort_values("n_cells", ascending=False, kind="stable")["label"].tolist()
    return {"n_lost_labels": len(lost), "lost_labels": listed(lost, MAX_NAMED) if lost else ""}


def _text(value: Any) -> str:
    """Return a value of a setting as text."""
    return f"{value:g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
