"""The report's index: the reference, the verdicts, and how far labels can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import yaml

from refatlas.config.tuning import tuning_folds
from refatlas.evaluate.transfer_summary import ALL_FOLDS
from refatlas.io.atomic import read_csv, read_json
from refatlas.report.images import embed_png
from refatlas.transfer.external_labels import EXTERNAL, TOO_GOOD

# Genes that are named in the report.
N_GENES = 12


@dataclass(frozen=True)
class IndexFiles:
    """Paths of the results that the index shows.

    Attributes:
        scans: scan.json, by dataset.
        genes: genes.parquet of the reference.
        queries: of each query, the small file that its page left for the index (see `query_summary`).
        folds: fold.json, by fold.
        calibration: calibration.json; None without folds.
        transfer: transfer.csv.
        transfer_figure: transfer.png.
        provenance: provenance.json.
        criticism: whether there is a page of posterior predictive checks.
        tuning: whether there is a page of tuning.
    """

    scans: dict[str, str]
    genes: str
    queries: dict[str, str]
    folds: dict[str, str]
    calibration: str | None
    transfer: str
    transfer_figure: str
    provenance: str
    criticism: bool = False
    tuning: bool = False


def index_context(
    files: IndexFiles, config: dict[str, Any], left_out: Sequence[str] = (), atlas: dict[str, str] | None = None
) -> dict[str, Any]:
    """Return the values that the index's template shows.

    Args:
        config: with all defaults.
        left_out: what was left out because the reference has no labels, in sentences.
        atlas: name, version, title and digest of the bundle that queries are mapped onto; None without one.
    """
    transfer = read_csv(files.transfer)
    return {
        "atlas": atlas,
        "criticism": files.criticism,
        "tuning": files.tuning,
        "datasets": [read_json(path) for path in files.scans.values()],
        "genes": summarize_genes(pd.read_parquet(files.genes)),
        "n_models": len(config["models"]),
        "queries": [read_json(path) for path in files.queries.values()],
        "folds": [{"name": fold, **read_json(path)} for fold, path in files.folds.items()],
        "chosen_on": chosen_on(config),
        "calibration": summarize_calibration(read_json(files.calibration)) if files.calibration else None,
        "transfer": transfer_tables(transfer, list(files.folds)),
        "too_good": too_good(transfer),
        "transfer_figure": embed_png(files.transfer_figure),
        "left_out": left_out,
        "contrasts": list(config.get("differential", {}).get("contrasts", {})),
        "deliver": config["deliver"],
        "expression": "expression" in config,
        "model_markers": "markers" in config.get("differential", {}),
        "spatial": "spatial" in config,
        "clonotypes": "receptors" in config,
        "provenance": read_json(files.provenance),
        "config": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    }


def chosen_on(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the fold on whose batches settings of models were chosen, and these models; None without tuning."""
    if not config.get("tune"):
        return None
    return {"fold": tuning_folds(config["evaluation"])[0], "models": list(config["tune"])}


def summarize_genes(genes: pd.DataFrame) -> dict[str, Any]:
    """Return numbers of genes, and the symbols of the most variable ones.

    The numbers are of all genes, candidates, selected genes, and those included by name; in words, what the datasets
    share.

    Args:
        genes: genes.parquet of the reference.
    """
    first = genes[genes["selected"]].sort_values("rank", na_position="last").head(N_GENES)
    return {
        "total": len(genes),
        "candidates": int(genes["candidate"].sum()),
        "selected": int(genes["selected"].sum()),
        "included": int((genes["reason"] == "included").sum()),
        "union": genes.attrs.get("union", []),
        "first": list(first["symbol"].fillna(first.index.to_series())),
    }


def summarize_calibration(calibration: dict[str, Any]) -> dict[str, Any]:
    """Return what the report shows of the calibration: held-out cells, pool, and weights of the novelty measures.

    Args:
        calibration: calibration.json.
    """
    learned = calibration["novelty"]
    wanted, losses = calibration["wanted"], calibration["candidates"]
    return {
        "evidence": calibration["evidence"],
        "sources": [
            {"name": name, "weight": weight, "loss": losses.get(name)}
            for name, weight in zip(wanted, calibration["weights"], strict=True)
        ],
        "pools": {name: loss for name, loss in losses.items() if name not in wanted},
        "method": calibration["delivered"]["method"],
        "hidden": learned["hidden"],
        "judged": learned["judged"],
        "measures": [
            {"name": name, "batch": batch, "label": label}
            for name, batch, label in zip(
                learned["measures"], learned["weights"]["batch"], learned["weights"]["label"], strict=True
            )
        ],
    }


def too_good(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the labels made elsewhere that are right in nearly all held-out cells, by model and accuracy.

    They may have been made from the labels that they are compared with.

    Args:
        scores: transfer.csv.
    """
    finest = (scores["split"] == ALL_FOLDS["split"]) & (scores["level"] == 1)
    rows = scores[finest & (scores["source"] == EXTERNAL) & (scores["accuracy"] >= TOO_GOOD)]
    return rows[["model", "accuracy"]].to_dict("records")


def transfer_tables(scores: pd.DataFrame, folds: list[str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return titles and rows of the tables of scores: of all held-out batches first, then of each fold.

    Those of queries are in their own pages.

    Args:
        scores: transfer.csv.
        folds: names of the folds.
    """
    scores = scores[scores["split"].isin([*folds, ALL_FOLDS["split"]])]
    scores = scores.astype(object).where(scores.notna(), None)
    return [
        (split if split in folds else query, part.to_dict("records"))
        for (split, query), part in scores.groupby(["split", "query"], sort=False)
    ]
