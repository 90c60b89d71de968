"""The figure of markers by a model: its changes beside those of the plain test, one panel a group."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from refatlas.plots import apply_style

N_PANELS, N_COLUMNS = 12, 4
# Plain fold changes beyond it, of genes that one side has no count of, are drawn there.
FARTHEST = 10
BOTH, MODEL, PLAIN, OTHER = "#c2410c", "#1d4ed8", "#15803d", "#c4c8ce"
KEYS = {
    BOTH: "first genes of both",
    MODEL: "of the model alone",
    PLAIN: "of the plain test alone",
    OTHER: "other genes",
}


def plot_changes(markers: pd.DataFrame, agreement: pd.DataFrame, model: str) -> Figure:
    """Return the changes of all genes by the model and by the plain test, for the largest groups.

    Args:
        markers, agreement: of `refatlas.differential.model_markers`. model: its name.
    """
    apply_style()
    known = agreement[(agreement["features"] == "rna") & agreement["top"].notna()]
    shown = known.sort_values(["cells", "label"], ascending=[False, True], kind="stable").head(N_PANELS)
    columns = max(min(len(shown), N_COLUMNS), 1)
    rows = max(-(-len(shown) // columns), 1)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.2 * columns, 3 * rows + 0.7), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax, row in zip(axes.flat, shown.to_dict("records"), strict=False):
        part = markers[(markers["label"] == row["label"]) & (markers["features"] == "rna")]
        colors = _colors(part, int(row["top"]))
        for color in (OTHER, PLAIN, MODEL, BOTH):
            own = part[colors == color]
            plain = own["plain_log2_fold_change"].clip(-FARTHEST, FARTHEST)
            ax.scatter(plain, own["log2_fold_change"], s=7, color=color, linewidths=0, rasterized=True)
        ax.axhline(0, color="black", linewidth=0.5)
        ax.axvline(0, color="black", linewidth=0.5)
        ax.set(xlabel="log2 fold change, plain test", ylabel=f"by {_short(model, 18)}")
        ax.set_title(f"{_short(row['label'])}: ρ = {row['spearman']:.2f}", fontsize=9)
    for color, words in KEYS.items():
        axes.flat[0].scatter([], [], s=16, color=color, label=words)
    if len(shown):
        figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    else:
        axes.flat[0].set_title("no group can be compared", fontsize=9)
    return figure


def _colors(part: pd.DataFrame, top: int) -> np.ndarray:
    """Return the color of each gene: whether it is among the first of the model, of the plain test, or of both."""
    model, plain = ((part[name] <= top).fillna(False).to_numpy(dtype=bool) for name in ("rank", "plain_rank"))
    return np.select([model & plain, model, plain], [BOTH, MODEL, PLAIN], OTHER)


def _short(text: str, most: int = 28) -> str:
    return text if len(text) < most else text[: most - 2] + "…"
