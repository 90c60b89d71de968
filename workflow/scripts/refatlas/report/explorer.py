"""An embedding to explore, as part of an HTML page that needs nothing from the web.

The page holds the cells as compressed blocks of text. Its script, templates/explorer*.js, draws them with WebGL.
"""

import html
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex
from scipy import sparse

from refatlas.plots import GREY
from refatlas.report.explorer_codes import (
    Codes,
    category_codes,
    codes_block,
    compressed,
    gene_blocks,
    grid_places,
    names_block,
    near_order,
    number_codes,
    places_block,
)
from refatlas.report.explorer_data import Column, ExplorerData
from refatlas.report.explorer_still import NO_VALUE, PALETTE, still_picture

__all__ = ["Column", "ExplorerData", "explorer_assets", "explorer_html", "stratified_sample"]

TEMPLATES = Path(__file__).parent / "templates"
# In the order in which they stand in the page: later parts use earlier ones.
SCRIPTS = (
    "explorer_data.js",
    "explorer_plot.js",
    "explorer_find.js",
    "explorer_page.js",
    "explorer_legend.js",
    "explorer_selection.js",
    "explorer_pointer.js",
    "explorer_tip.js",
    "explorer.js",
)


def explorer_assets() -> tuple[str, str]:
    """Return the style and the script of all explorers of a page, each to be put in it once."""
    parts = [(TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS]
    style = (TEMPLATES / "explorer.css").read_text(encoding="utf-8")
    return style, '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def explorer_html(data: ExplorerData, identifier: str) -> str:
    """Return an explorer as an HTML fragment: its data, and a still picture for browsers without WebGL or script.

    Args:
        identifier: the fragment's id, unique in the page.
    """
    first = grid_places(next(iter(data.places.values())))
    is_query = np.asarray(data.is_query, dtype=bool)
    order = near_order(first, is_query)
    n_reference = int((~is_query).sum())
    codes = [column_codes(column, order) for column in data.columns]
    blocks, about = cell_blocks(data, order, codes)
    about |= {"reference": n_reference, "note": data.note, "file": data.file_name}
    return fragment(identifier, about, blocks, still_of(data, first[order], codes, n_reference), data.note)


def column_codes(column: Column, order: np.ndarray) -> Codes:
    """Return the codes of a column with the cells in another order."""
    coded = (category_codes if column.kind == "category" else number_codes)(column.values)
    about = {"name": str(column.name), "kind": column.kind, "group": column.group}
    return Codes(coded.values[order], about | coded.about)


def cell_blocks(data: ExplorerData, order: np.ndarray, codes: list[Codes]) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the blocks of a page by name, and what its script needs to know to read them.

    Args:
        order: of the cells in the page.
        codes: of each column, in this order.
    """
    blocks, models = {}, []
    for i, (model, places) in enumerate(data.places.items()):
        # Only the first model's places change little from cell to cell.
        blocks[f"places-{i}"] = places_block(grid_places(places)[order], deltas=i == 0)
        models.append({"name": str(model), "deltas": i == 0})
    blocks |= {f"column-{i}": codes_block(column.values) for i, column in enumerate(codes)}
    blocks["cells"], name_bytes = names_block([str(name) for name in np.asarray(data.cells, dtype=object)[order]])
    about = {
        "n": len(order),
        "nameBytes": name_bytes,
        "models": models,
        "columns": [column.about | {"bytes": column.values.itemsize} for column in codes],
        "genes": [],
        "palette": PALETTE,
        "grey": GREY,
        "missing": NO_VALUE,
        "numbers": [to_hex(color) for color in colormaps["viridis"](np.linspace(0, 1, 255))],
    }
    if data.genes is not None and data.genes.shape[1]:
        about["genes"] = add_genes(blocks, sparse.csr_matrix(data.genes)[order], list(data.gene_names))
    return blocks, about


def add_genes(blocks: dict[str, str], genes: sparse.csr_matrix, names: list[str]) -> list[list[Any]]:
    """Add blocks of the genes and of the cells where they are measured; return name and largest value of each gene."""
    columns = genes.tocsc()
    columns.sort_indices()
    blocks["genes"], largest = gene_blocks(columns)
    blocks["measured"] = compressed((np.diff(genes.indptr) > 0).astype(np.uint8).tobytes())
    return [[str(name), round(top, 4)] for name, top in zip(names, largest, strict=True)]


def still_of(data: ExplorerData, grid: np.ndarray, codes: list[Codes], n_reference: int) -> str:
    """Return the still picture of an explorer, in the colours of its first category column."""
    shown = next((column for column in codes if column.about["kind"] == "category"), None)
    if shown is None:
        shown = Codes(np.zeros(len(grid), dtype=np.uint8), {"name": "", "categories": ["cells"]})
    coloured = np.arange(len(grid)) >= n_reference
    missing = len(shown.about["categories"])
    if not (shown.values[n_reference:] != missing).any():
        coloured[:] = True
    return still_picture(grid, shown, n_reference, coloured, shown.about["name"])


def fragment(identifier: str, about: dict[str, Any], blocks: dict[str, str], picture: str, note: str) -> str:
    """Return the HTML of an explorer. All texts are escaped."""
    texts = "\n".join(
        f'<script type="text/plain" data-block="{name}">{content}</script>' for name, content in blocks.items()
    )
    return f"""<div class="explorer" id="{html.escape(identifier)}">
<figure class="explorer-still">
<img src="data:image/png;base64,{picture}" alt="embedding of {about["n"]:,} cells">
<figcaption><noscript>Scripts are off in this browser: this is a still picture of the embedding. </noscript>\
<span class="explorer-reason"></span>{html.escape(note)}</figcaption>
</figure>
<script type="application/json" data-block="about">{safe_json(about)}</script>
{texts}
</div>
"""


def safe_json(content: Any) -> str:
    """Return JSON that cannot end the script element in which it stands."""
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def stratified_sample(labels: pd.Series, max_cells: int, seed: int) -> np.ndarray:
    """Return the rows of a sample, sorted.

    A label keeps all of its cells, up to an equal share of half of the sample. The rest of the sample is in
    proportion to the other cells of each label. Cells without a label count as one label.

    Args:
        labels: label of each cell.
        max_cells: size of the sample; all cells are returned if there are no more.
        seed: of the choice of cells; the same seed chooses the same cells.
    """
    if len(labels) <= max_cells:
        return np.arange(len(labels))
    codes = pd.factorize(labels, use_na_sentinel=False)[0]
    sizes = np.bincount(codes)
    taken = sample_sizes(sizes, max_cells)
    shuffled = np.random.default_rng(seed).permutation(len(codes))
    small = codes[shuffled].astype(np.min_scalar_type(len(sizes)))
    by_label = shuffled[np.argsort(small, kind="stable")]
    starts = np.cumsum(sizes) - sizes
    place_in_label = np.arange(len(codes)) - np.repeat(starts, sizes)
    return np.sort(by_label[place_in_label < np.repeat(taken, sizes)])


def sample_sizes(sizes: np.ndarray, max_cells: int) -> np.ndarray:
    """Return how many cells of each label a sample has; they sum to max_cells.

    Args:
        sizes: number of cells of each label, more than max_cells in all.
    """
    kept = np.minimum(sizes, max_cells // (2 * len(sizes)))
    shares = (sizes - kept) * ((max_cells - kept.sum()) / (sizes - kept).sum())
    taken = kept + shares.astype(np.int64)
    order = np.argsort(np.floor(shares) - shares, kind="stable")
    taken[order[: max_cells - taken.sum()]] += 1
    return taken
