"""Figure of which labels of different datasets lie by each other."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from refatlas.annotate.label_text import CONTAINS, PART_OF, SAME, Label
from refatlas.plots import GREY, apply_style, category_colors

SIGNS = {SAME: "=", CONTAINS: "⊃", PART_OF: "⊂", "apart": "≠"}
# Inches of a label, and of the longest side of the figure.
CELL, LONGEST = 0.24, 22.0
MAX_TEXT = 32


def plot_label_agreement(agreement: pd.DataFrame, groups: Sequence[Sequence[Label]], title: str) -> plt.Figure:
    """Return a heat map of the share of each label's cells that lie by each label of the other datasets.

    For two datasets, labels of the one by those of the other, in both directions; for more, all labels by all labels,
    with those that are the same beside each other. Signs show the relation of the row's label to the column's.

    Args:
        agreement: label_agreement.csv.
        groups: labels that are the same, from `same_groups`.
        title: of the figure.
    """
    apply_style()
    labels = [label for group in _ordered(groups) for label in group]
    datasets = sorted({dataset for dataset, _ in labels})
    colors = category_colors(datasets)
    if len(datasets) == 2:
        sides = [[label for label in labels if label[0] == dataset] for dataset in datasets]
        blocks = [(sides[0], sides[1]), (sides[1], sides[0])]
    else:
        blocks = [(labels, labels)]
    width, height = sum(len(columns) for _, columns in blocks), max(len(rows) for rows, _ in blocks)
    cell = min(CELL, LONGEST / max(width, height, 1))
    figure, axes = plt.subplots(
        1,
        len(blocks),
        figsize=(2.8 * len(blocks) + cell * width + 0.6, 2.6 + cell * height),
        squeeze=False,
        width_ratios=[max(len(columns), 1) for _, columns in blocks],
        layout="constrained",
    )
    for ax, (rows, columns) in zip(axes[0], blocks, strict=True):
        image = _draw_block(ax, agreement, rows, columns, colors, 7.5 * cell / CELL)
    figure.colorbar(image, ax=axes, label="share of cells", shrink=0.6, aspect=30)
    figure.suptitle(
        f"{title}\nshare of each row's cells that lie by each column's\n"
        "=  same    ⊃  contains    ⊂  part of    ≠  nearest, but apart",
        fontsize=10,
    )
    return figure


def _ordered(groups: Sequence[Sequence[Label]]) -> list[Sequence[Label]]:
    """Return the groups, those of most datasets first."""
    return sorted(groups, key=lambda group: -len(group))


def _draw_block(
    ax: Axes,
    agreement: pd.DataFrame,
    rows: list[Label],
    columns: list[Label],
    colors: dict[str, tuple],
    size: float,
) -> AxesImage:
    """Draw the shares of some labels by others; those of a dataset by itself are grey."""
    shares = np.zeros((len(rows), len(columns)))
    at_row, at_column = ({label: i for i, label in enumerate(side)} for side in (rows, columns))
    for pair in agreement.itertuples():
        i = at_row.get((pair.dataset_a, pair.label_a))
        j = at_column.get((pair.dataset_b, pair.label_b))
        if i is None or j is None:
            continue
        shares[i, j] = pair.share
        if pair.relation in SIGNS:
            color = "white" if pair.share > 0.5 else "black"
            ax.text(j, i, SIGNS[pair.relation], ha="center", va="center", color=color, fontsize=size)
    own = np.array([[row[0] == column[0] for column in columns] for row in rows])
    image = ax.imshow(np.ma.masked_array(shares, own), cmap="Blues", vmin=0, vmax=1, aspect="equal")
    ax.set_facecolor(GREY)
    ax.set_xticks(range(len(columns)), [_shown(label) for label in columns], rotation=90, fontsize=size)
    ax.set_yticks(range(len(rows)), [_shown(label) for label in rows], fontsize=size)
    for ticks, side in ((ax.get_xticklabels(), columns), (ax.get_yticklabels(), rows)):
        for tick, label in zip(ticks, side, strict=True):
            tick.set_color(colors[label[0]])
    ax.tick_params(length=0)
    return image


def _shown(label: Label) -> str:
    dataset, text = label
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    return f"{text} ({dataset})"
