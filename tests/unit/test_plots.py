"""Figures are drawn of what types really write, odd names included."""

from itertools import pairwise

import matplotlib
import numpy as np
import pandas as pd
import pytest

from refatlas.plots import GREY, category_colors, draw_categories, draw_embeddings, draw_enrichment, plt, save_figure
from refatlas.report import reference_figures


@pytest.mark.parametrize(
    "columns",
    [["elbo_train", "elbo_validation"], ["loss_train", "recon_loss_train", "loss_validation"], ["loss_train"]],
)
def test_losses_of_every_type_are_drawn(columns):
    history = pd.DataFrame(
        {
            "stage": ["one", "one", "two"],
            "epoch": [1, 2, 1],
            "seconds": 1.0,
            "cells_per_second": 1.0,
            **{name: [3.0, 2.0, 1.0] for name in columns},
        }
    )
    figure = reference_figures.plot_training(history, "m")
    assert [len(ax.lines) for ax in figure.axes] == [1 + any(name.endswith("_validation") for name in columns)] * 2


def test_a_stage_without_a_column_of_another_is_drawn():
    history = pd.DataFrame(
        {
            "stage": ["one", "two"],
            "epoch": [1, 1],
            "seconds": 1.0,
            "cells_per_second": 1.0,
            "elbo_train": [1.0, np.nan],
            "loss_train": [np.nan, 2.0],
        }
    )
    assert [len(ax.lines) for ax in reference_figures.plot_training(history, "m").axes] == [1, 1]


def test_cells_have_the_colour_of_their_category_and_others_are_grey():
    figure, ax = plt.subplots()
    names, places, palette = (
        ["b", None, "a", "unknown", np.nan, "a"],
        np.arange(12.0).reshape(6, 2),
        category_colors(["a", "b", "c"]),
    )
    draw_categories(ax, places, pd.Series(names, dtype=object), palette, 5)
    drawn = ax.collections[0]
    expected = [matplotlib.colors.to_rgb(palette.get(name, GREY)) for name in names]
    order = drawn.get_offsets()[:, 0].astype(int) // 2
    np.testing.assert_allclose(drawn.get_facecolors()[:, :3], np.array(expected)[order])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    plt.close(figure)


@pytest.mark.parametrize("n_labels", [30, 60, 150])
def test_legends_cover_no_other_panel_and_name_the_largest_labels(n_labels):
    codes = np.arange(6 * n_labels) % n_labels
    # As many cells again of the last label.
    codes[: 3 * n_labels] = np.where(np.arange(3 * n_labels) % 2, n_labels - 1, codes[: 3 * n_labels])
    labels = [f"CD8-positive, alpha-beta T cell {code:03d}" for code in codes]
    cells = pd.DataFrame({"batch": [f"dataset:donor {code}" for code in codes], "label": labels, "cluster": codes})
    umap = pd.DataFrame(np.random.default_rng(0).normal(size=(len(codes), 2)))
    figure = reference_figures.plot_reference_umap(umap, cells.assign(cluster=cells["cluster"].astype(str)), "scvi")
    figure.canvas.draw()
    for left, right in pairwise(figure.axes):
        assert left.get_legend().get_window_extent().x1 < right.get_tightbbox().x0
    shown = [text.get_text() for text in figure.axes[2].get_legend().get_texts()]
    assert len(shown) == min(n_labels, 41)
    assert str(n_labels - 1) in shown
    assert shown[-1] == (f"and {n_labels - 40} more" if n_labels > 40 else str(n_labels - 1))
    plt.close(figure)


def test_enrichment_and_embeddings_with_odd_names(tmp_path):
    rows = [
        {"by": "label", "group": group, "program": f"$P_{i}$", "bayes_factor": i - 5.0}
        for group in ("T & <b>", "B$")
        for i in range(10)
    ]
    figure = draw_enrichment(pd.DataFrame(rows).set_index(["by", "group", "program"]))
    assert [len(ax.patches) for ax in figure.axes] == [8, 8]
    save_figure(figure, str(tmp_path / "enrichment.png"))
    table = pd.DataFrame(
        {"origin": ["reference", "query"], "embedding_1": [0.0, 1.0]}, index=pd.Index(["a:$b", "q:q"], name="batch")
    )
    save_figure(draw_embeddings(table), str(tmp_path / "embeddings.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"enrichment.png", "embeddings.png"}
