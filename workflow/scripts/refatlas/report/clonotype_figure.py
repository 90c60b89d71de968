"""The figure of clonotypes: how far those of each batch and label are expanded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from refatlas.plots import GREY, apply_style

if TYPE_CHECKING:
    from refatlas.report.clonotype_page import Source

N_BARS = 25
PARTS = {
    "in an expanded clonotype": "#1d4ed8",
    "the only cell of its clonotype": "#93c5fd",
    "without a pair": GREY,
}


def plot_expansion(sources: "Sequence[Source]") -> Figure:
    """Return the cells of each batch and label by what they say of clonotypes, for the reference and the queries.

    Args:
        sources: the reference and the queries.
    """
    apply_style()
    panels = {"batches": _bars(sources, "batches", "batch")}
    labels = _bars(sources, "labels", "label")
    # An atlas without labels has none.
    panels |= {"labels": labels} if len(labels) else {}
    n_bars = max(map(len, panels.values()))
    size = (10 if len(panels) > 1 else 7, 1.6 + 0.24 * n_bars)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    for ax, (title, bars) in zip(axes[0], panels.items(), strict=True):
        _draw(ax, bars, title)
    handles = [plt.Rectangle((0, 0), 1, 1, color=color) for color in PARTS.values()]
    figure.legend(handles, PARTS, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def _bars(sources: "Sequence[Source]", kind: str, key: str) -> pd.DataFrame:
    """Return the numbers of cells of the groups with most cells, in order of source and name."""
    tables = []
    for source in sources:
        table: pd.DataFrame = getattr(source, kind)
        prefix = f"{source.name}, " if kind == "labels" and source.is_query else ""
        paired = table["n_paired"]
        parts = [table["cells_expanded"], paired - table["cells_expanded"], table["n_cells"] - paired]
        tables.append(pd.DataFrame(dict(zip(PARTS, parts, strict=True))).assign(name=prefix + table[key].astype(str)))
    found = pd.concat(tables, ignore_index=True)
    largest = found[list(PARTS)].sum(axis=1).astype(int).nlargest(N_BARS).index
    return found.loc[sorted(largest)]


def _draw(ax: Axes, bars: pd.DataFrame, title: str) -> None:
    left = pd.Series(0, index=bars.index)
    places = range(len(bars))
    for part, color in PARTS.items():
        ax.barh(places, bars[part], left=left, color=color, height=0.75)
        left = left + bars[part]
    names = [name if len(name) < 30 else name[:28] + "…" for name in bars["name"]]
    ax.set_yticks(places, names, fontsize=8)
    ax.invert_yaxis()
    ax.set(title=title, xlabel="cells")
