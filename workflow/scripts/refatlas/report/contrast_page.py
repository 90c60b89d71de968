"""The page of a contrast in the report."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from refatlas.differential.deseq import ALPHA, BY_TOTALS
from refatlas.io.atomic import read_csv, read_json
from refatlas.report.contrast_figures import shown_labels
from refatlas.report.images import embed_png

N_GENES, N_SETS = 25, 15


def contrast_context(files: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that the page's template shows.

    Args:
        files: paths of genes, samples, enrichment, summary, volcano, ma, abundance, abundance_notes and
            abundance_figure, by kind; of each model whose features are compared, features:MODEL, feature_notes:MODEL
            and feature_figure:MODEL; of the model whose densities are, density, density_notes and density_figure.
    """
    summary = read_json(files["summary"])
    genes, sets = read_csv(files["genes"]), read_csv(files["enrichment"])
    samples = pd.read_csv(files["samples"], dtype={summary["sample"]: str, summary["condition"]: str, "label": str})
    abundance = (
        read_csv(files["abundance"]).fillna({"left_out": ""}).sort_values(["relative_p_value", "label"], kind="stable")
    )
    left = samples[~samples["used"]]
    return {
        "summary": summary,
        "tested": [row for row in summary["labels"] if not row["left_out"]],
        "left_out": [row for row in summary["labels"] if row["left_out"]],
        "label_notes": label_notes(summary),
        "left_samples": left[["label", summary["sample"], summary["condition"], "n_cells"]].to_numpy().tolist(),
        "genes": {label: _rows(genes, label, "p_value", N_GENES) for label in shown_labels(genes)},
        "sets": {label: _rows(sets, label, "fdr", N_SETS) for label in shown_labels(genes)} if len(sets) else {},
        "abundance": abundance.to_dict("records"),
        "abundance_notes": read_json(files["abundance_notes"])["notes"],
        "abundance_figure": embed_png(files["abundance_figure"]),
        "features": feature_sections(files),
        "density": density_section(files),
        "volcano": embed_png(files["volcano"]),
        "ma": embed_png(files["ma"]),
    }


def label_notes(summary: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of single labels: too few genes for ratios, and what is confounded in them alone.

    Args:
        summary: summary.json; before 0.9.1 its labels lack both.
    """
    found = []
    for row in summary["labels"]:
        if row.get("size_factors") == BY_TOTALS:
            found.append(
                f"{row['label']}: {row['size_factor_genes']} of {row['tested_genes']} genes have counts in all samples,"
                " too few for a median of ratios: samples are scaled by their total counts"
            )
        # What holds for the whole contrast stands above.
        if (confounded := row.get("confounded")) and not _is_said(confounded, summary["warnings"]):
            found.append(f"{row['label']}: {confounded}")
    return found


def _is_said(confounded: str, warnings: list[str]) -> bool:
    return any(warning.partition(" (")[0] == confounded.partition(" (")[0] for warning in warnings)


def feature_sections(files: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return, for each model, its kind of features, notes, figure, and the features of each label that differ.

    Args:
        files: of a page.
    """
    found = []
    for model in [name.removeprefix("features:") for name in files if name.startswith("features:")]:
        notes, table = read_json(files[f"feature_notes:{model}"]), read_csv(files[f"features:{model}"])
        labels = [{**row, "rows": _rows(table, row["label"], "p_value", N_GENES)} for row in notes["labels"]]
        figure = embed_png(files[f"feature_figure:{model}"])
        found.append({"model": model, **notes, "labels": labels, "figure": figure})
    return found


def density_section(files: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the model, notes, figure and labels of the densities; None if they were not compared.

    Args:
        files: of a page.
    """
    if "density" not in files:
        return None
    labels = read_csv(files["density"]).fillna({"left_out": ""})
    # Not by p-value, which has many ties: there are few splits of few samples.
    order = labels["median_log2_ratio"].abs().sort_values(ascending=False, kind="stable").index
    labels = labels.loc[order].to_dict("records")
    return {**read_json(files["density_notes"]), "labels": labels, "figure": embed_png(files["density_figure"])}


def _rows(table: pd.DataFrame, label: str, by: str, n: int) -> list[dict[str, Any]]:
    """Return the most significant rows of a label, among those with an FDR below ALPHA."""
    own = table[(table["label"] == label) & (table["fdr"] < ALPHA)]
    return own.sort_values(by, kind="stable").head(n).to_dict("records")
