"""Measures pages with an embedding to explore: size, time to the first picture, memory, colours and lasso.

usage: .venv/bin/python measurements/explorer_pages.py WORK [CELLS ...]
    WORK   folder for the pages
    CELLS  numbers of cells, 5,000, 100,000 and 1,000,000 if none are given

The cells are Gaussian blobs in the places of two models, with three category columns, one number and random barcodes.
A tenth of them are of the query; pages of up to 100,000 cells have 200 genes. Chromium runs without a window and
draws with its software renderer. Each time is the middle one of three.
"""

import base64
import hashlib
import re
import shutil
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from refatlas.report.explorer import Column, ExplorerData, explorer_assets, explorer_html

BROWSER = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Embedding</title><style>{style}</style></head>
<body><main><h1>Embedding</h1>
{content}</main>
<script>{script}</script></body></html>
"""
BODY = "body { font: 15px/1.5 system-ui, sans-serif; margin: 0; padding: 1rem; } h1 { font-size: 1.5rem; }\n"


def hash_of(text: str) -> str:
    """Return the source expression that allows an inline text in a policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(data: ExplorerData, identifier: str = "explorer") -> str:
    """Return a page with one explorer, and with the policy of the report's pages."""
    style, script = explorer_assets()
    style = BODY + style
    policy = (
        f"default-src 'none'; img-src data: blob:; style-src {hash_of(style)}; script-src {hash_of(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return FRAME.format(policy=policy, style=style, script=script, content=explorer_html(data, identifier))


def synthetic_cells(n_cells: int, n_genes: int = 200, seed: int = 0) -> ExplorerData:
    """Return cells in 20 Gaussian blobs of different sizes, one of each for every label."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, 21)
    label = rng.choice(20, n_cells, p=share / share.sum())
    places = {
        model: rng.uniform(-10, 10, (20, 2))[label]
        + rng.normal(0, rng.uniform(0.3, 1.2, 20)[label, None], (n_cells, 2))
        for model in ("scvi", "scanvi")
    }
    letters = np.array(list("ACGT"), dtype="U1")[rng.integers(0, 4, (n_cells, 16))]
    cells = [f"{barcode}-1" for barcode in letters.view("U16").ravel()]
    columns = [
        Column("label", "category", pd.Series(np.array([f"type {i}" for i in range(20)])[label])),
        Column(
            "status",
            "category",
            np.array(["assigned", "ambiguous", "novel"])[rng.choice(3, n_cells, p=[0.9, 0.07, 0.03])],
        ),
        Column("batch", "category", np.array([f"batch {i}" for i in range(10)])[rng.integers(0, 10, n_cells)]),
        Column("confidence", "number", rng.beta(8, 2, n_cells)),
    ]
    genes = sparse.random(n_cells, n_genes, 0.1, format="csr", random_state=rng) if n_genes else None
    names = [f"GENE{i}" for i in range(n_genes)]
    return ExplorerData(cells, rng.random(n_cells) < 0.1, places, columns, genes, names)


def measure(browser: Any, file: Path) -> dict[str, float]:
    """Return times in seconds and memory in MB of one load of a page."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    start = time.perf_counter()
    tab.goto(file.as_uri(), wait_until="commit")
    tab.wait_for_selector('[data-state="ready"]')
    tab.screenshot(clip={"x": 0, "y": 0, "width": 50, "height": 50})
    seen = time.perf_counter() - start
    heap = tab.evaluate("performance.memory.usedJSHeapSize") / 1e6
    start = time.perf_counter()
    tab.get_by_label("Colour by", exact=True).select_option("batch")
    tab.locator(".explorer-legend .explorer-title", has_text="batch").wait_for()
    tab.screenshot(clip={"x": 0, "y": 0, "width": 50, "height": 50})
    switched = time.perf_counter() - start
    lasso = lasso_seconds(tab)
    tab.close()
    return {"first picture": seen, "heap MB": heap, "colour": switched, "lasso": lasso}


def lasso_seconds(tab: Any) -> float:
    """Return how long it takes from the end of a lasso around a quarter of the picture to the table."""
    box = tab.locator(".explorer-canvas").bounding_box()
    tab.get_by_role("button", name="Lasso").click()
    ends = [(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in ends]
    tab.mouse.move(*corners[0])
    tab.mouse.down()
    for corner in corners[1:]:
        tab.mouse.move(*corner, steps=5)
    start = time.perf_counter()
    tab.mouse.up()
    tab.wait_for_selector(".explorer-cells")
    return time.perf_counter() - start


def main(work: str, *sizes: str) -> None:
    from playwright.sync_api import sync_playwright

    Path(work).mkdir(parents=True, exist_ok=True)
    rows = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*BROWSER, "--enable-precise-memory-info"]
        )
        for n_cells in map(int, sizes or ("5000", "100000", "1000000")):
            data = synthetic_cells(n_cells, 200 if n_cells <= 100_000 else 0)
            start = time.perf_counter()
            text = page(data)
            written = time.perf_counter() - start
            file = Path(work).resolve() / f"cells_{n_cells}.html"
            file.write_text(text, encoding="utf-8")
            still = len(re.findall(r"base64,([^\"]*)", text)[0]) * 0.75
            runs = [measure(browser, file) for _ in range(3)]
            rows[f"{n_cells:,}"] = {"page MB": len(text) / 1e6, "still kB": still / 1e3, "written": written} | {
                name: median(run[name] for run in runs) for name in runs[0]
            }
        browser.close()
    print(pd.DataFrame(rows).T.round(2).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])
