"""The explorer of an embedding: codes and their way back, samples, and texts that must not become markup."""

import base64
import gzip
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy import sparse

from refatlas.report import explorer, explorer_codes, explorer_still
from refatlas.report.explorer import Column, ExplorerData, explorer_assets, explorer_html, stratified_sample

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028"


def unpacked(block: str) -> bytes:
    return gzip.decompress(base64.b64decode(block))


def from_planes(content: bytes, n: int, dtype: type) -> np.ndarray:
    """Return integers from their byte planes, as the page's script does."""
    planes = np.frombuffer(content, dtype=np.uint8).reshape(np.dtype(dtype).itemsize, n)
    return sum(plane.astype(dtype) << dtype(8 * i) for i, plane in enumerate(planes))


def names_of(page: str) -> list[str]:
    """Return the names of the cells in the page's order, as the page's script does."""
    content, width = unpacked(blocks_of(page)["cells"]), json.loads(blocks_of(page)["about"])["nameBytes"]
    if not width:
        return content.decode().split("\n")
    letters = np.frombuffer(content, np.uint8).reshape(width, -1).T
    return [row.tobytes().rstrip(b"\0").decode() for row in letters]


def blocks_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<script type="[a-z/]*" data-block="([a-z0-9-]+)">([^<]*)</script>', page))


def cells(n: int = 6, **other) -> ExplorerData:
    """Return n cells on a line, of which the first two are of the query."""
    parts = {
        "cells": [f"AC{i}" for i in range(n)],
        "is_query": np.arange(n) < 2,
        "places": {"scvi": np.column_stack([np.arange(n), np.zeros(n)])},
        "columns": [Column("label", "category", np.array(["B", "T"] * (n // 2)))],
    }
    return ExplorerData(**(parts | other))


def test_planes_hold_all_lowest_bytes_first():
    assert explorer_codes.byte_planes(np.array([0x0102, 0x0304], dtype=np.uint16)) == bytes([2, 4, 1, 3])


def test_places_come_back_within_a_grid_line():
    places = np.random.default_rng(0).normal(size=(50, 2)) * [4, 1] + [10, -3]
    grid = explorer_codes.grid_places(places)
    span = np.ptp(places[:, 0])
    back = (grid - grid.min(axis=0).astype(float)) / (explorer_codes.NO_PLACE - 1) * span + places.min(axis=0)
    assert back == pytest.approx(places, abs=span / explorer_codes.NO_PLACE)


def test_cells_without_a_place_are_marked_and_do_not_stretch_the_others():
    grid = explorer_codes.grid_places(np.array([[0, 0], [np.nan, 1], [1, 1], [np.inf, 0]]))
    assert grid.tolist() == [[0, 0], [65_535, 65_535], [65_534, 65_534], [65_535, 65_535]]


def test_cells_at_one_place_lie_in_the_middle():
    assert explorer_codes.grid_places(np.ones((2, 2))).tolist() == [[32_767, 32_767]] * 2


@pytest.mark.parametrize("deltas", [True, False])
def test_a_places_block_holds_x_then_y(deltas):
    grid = np.array([[5, 9], [3, 65_535], [65_000, 0]], dtype=np.uint16)
    content = unpacked(explorer_codes.places_block(grid, deltas))
    x, y = from_planes(content[:6], 3, np.uint16), from_planes(content[6:], 3, np.uint16)
    if deltas:
        x, y = np.cumsum(x, dtype=np.uint16), np.cumsum(y, dtype=np.uint16)
    assert np.column_stack([x, y]).tolist() == grid.tolist()


def test_the_reference_comes_first_and_near_cells_follow_each_other():
    grid = np.array([[0, 0], [60_000, 60_000], [1, 1], [60_001, 60_001]], dtype=np.uint16)
    order = explorer_codes.near_order(grid, np.array([True, False, False, False]))
    assert order.tolist() == [2, 1, 3, 0]


def test_categories_are_sorted_by_their_numbers_and_missing_ones_come_last():
    coded = explorer_codes.category_codes(pd.Series(["10", "2", None, "10"]))
    assert coded.about == {"categories": ["2", "10"]}
    assert coded.values.tolist() == [1, 0, 2, 1]


def test_a_categorical_keeps_its_order():
    values = pd.Categorical(["b", None, "a"], categories=["b", "unused", "a"])
    coded = explorer_codes.category_codes(pd.Series(values, index=[7, 8, 9]))
    assert (coded.values.tolist(), coded.about["categories"]) == ([0, 3, 2], ["b", "unused", "a"])


def test_values_of_the_same_text_are_one_category():
    coded = explorer_codes.category_codes(pd.Series([1, "1", True, np.nan], dtype=object))
    assert coded.about["categories"][0] == "1"
    assert coded.values[0] == coded.values[1] != coded.values[3]


def test_many_categories_need_two_bytes_and_more_are_lumped():
    coded = explorer_codes.category_codes(pd.Series([f"c{i}" for i in range(1_500)] + ["c7"]))
    assert coded.values.dtype == np.uint16
    assert len(coded.about["categories"]) == 1_001
    assert coded.about["categories"][-1] == "500 other values"
    assert coded.about["categories"][coded.values[-1]] == "c7"
    assert (coded.values == 1_000).sum() == 500


def test_numbers_come_back_within_a_step():
    values = np.array([0.0, 0.5, 1.0, np.nan, np.inf])
    coded = explorer_codes.number_codes(values)
    assert coded.values.tolist() == [0, 127, 254, 255, 255]
    assert coded.about == {"min": 0.0, "max": 1.0, "scale": "linear"}


def test_numbers_over_a_wide_range_are_logarithmic():
    coded = explorer_codes.number_codes(pd.Series([1, 100, 10_000]))
    assert (coded.values.tolist(), coded.about["scale"]) == ([0, 127, 254], "logarithmic")


@pytest.mark.parametrize("values", [[3.0, 3.0], [np.nan, np.nan], pd.array([1, None], dtype="Int64"), ["?", None]])
def test_numbers_that_do_not_vary_or_are_missing(values):
    coded = explorer_codes.number_codes(pd.Series(values))
    assert set(coded.values) <= {0, 255}
    json.dumps(coded.about, allow_nan=False)


def test_genes_come_back():
    genes = sparse.csr_matrix(np.array([[0, 2.0], [0, 0], [4.0, 1.0], [1.0, 0]]))
    page = explorer_html(cells(4, genes=genes, gene_names=["CD3", "CD8"], is_query=np.zeros(4, bool)), "explorer")
    blocks = blocks_of(page)
    names = names_of(page)
    content = unpacked(blocks["genes"].split("\n")[0])
    rows = np.cumsum(from_planes(content[:8], 2, np.uint32))
    assert {names[row]: code for row, code in zip(rows, content[8:], strict=True)} == {"AC2": 254, "AC3": 64}
    assert json.loads(blocks["about"])["genes"] == [["CD3", 4.0], ["CD8", 2.0]]
    measured = dict(zip(names, unpacked(blocks["measured"]), strict=True))
    assert measured == {"AC0": 1, "AC1": 0, "AC2": 1, "AC3": 1}


def test_every_part_has_the_same_order_of_cells():
    rng = np.random.default_rng(1)
    n = 40
    names, score = [f"cell {i}" for i in range(n)], rng.random(n)
    places = {"a": rng.random((n, 2)), "b": rng.random((n, 2))}
    columns = [Column("score", "number", score), Column("own", "category", pd.Series(names))]
    page = explorer_html(cells(n, cells=names, places=places, columns=columns, is_query=rng.random(n) < 0.3), "e")
    blocks = blocks_of(page)
    about = json.loads(blocks["about"])
    order = [int(name.split()[1]) for name in names_of(page)]
    assert sorted(order) == list(range(n))
    assert np.frombuffer(unpacked(blocks["column-0"]), np.uint8) / 254 * np.ptp(score) + score.min() == pytest.approx(
        score[order], abs=0.003
    )
    own = about["columns"][1]["categories"]
    assert [own[code] for code in unpacked(blocks["column-1"])] == [names[i] for i in order]
    x = from_planes(unpacked(blocks["places-1"])[: 2 * n], n, np.uint16)
    assert x.tolist() == explorer_codes.grid_places(places["b"])[order, 0].tolist()


@pytest.mark.parametrize("long", ["", "x" * 65])
def test_names_of_different_lengths_come_back(long):
    names = ["a\nb", "", "\u00e9\0", "AC-1" + long]
    page = explorer_html(cells(4, cells=names, is_query=np.zeros(4, bool)), "e")
    assert (json.loads(blocks_of(page)["about"])["nameBytes"] == 0) == bool(long)
    assert sorted(names_of(page)) == sorted(["a b", "", "\u00e9 ", "AC-1" + long])


class Tags(HTMLParser):
    """All tags of a page, and all names of attributes."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes = [], set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_hostile_texts_do_not_become_markup():
    data = cells(
        cells=[HOSTILE] * 6,
        places={HOSTILE: np.arange(12.0).reshape(6, 2)},
        columns=[
            Column(HOSTILE, "category", np.array([HOSTILE, "\ud800", "$x^{$", "b", "c", "d"], dtype=object), HOSTILE),
        ],
        genes=sparse.csr_matrix(np.ones((6, 1))),
        gene_names=[HOSTILE],
        note=HOSTILE,
        file_name=HOSTILE,
    )
    page = explorer_html(data, HOSTILE)
    found = Tags(page)
    assert set(found.tags) == {"div", "figure", "img", "figcaption", "noscript", "span", "script"}
    assert found.tags.count("img") == 1
    assert not [name for name in found.attributes if name.startswith("on") or name == "style"]
    about = json.loads(blocks_of(page)["about"])
    assert about["columns"][0]["name"] == about["note"] == about["genes"][0][0] == HOSTILE
    assert "<" not in blocks_of(page)["about"]


def test_safe_json_escapes_ends_of_elements_and_lines():
    text = explorer.safe_json(["</script>", "<!--", "\u2028\u2029", "&"])
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == ["</script>", "<!--", "\u2028\u2029", "&"]


def test_the_same_data_make_the_same_page():
    assert explorer_html(cells(), "e") == explorer_html(cells(), "e")


def test_the_still_picture_is_a_small_png_of_the_first_category():
    n = 60_000
    rng = np.random.default_rng(0)
    columns = [Column("score", "number", rng.random(n)), Column("type", "category", np.array(list("abcdef") * 10_000))]
    page = explorer_html(cells(n, places={"m": rng.normal(size=(n, 2))}, columns=columns), "e")
    picture = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]*)"', page).group(1))
    assert picture.startswith(b"\x89PNG")
    assert len(picture) <= explorer_still.MAX_BYTES


@pytest.mark.parametrize("n_query", [4_000, 2])
def test_each_category_keeps_its_colour_in_the_still_picture(n_query):
    n = 4_000
    places = np.random.default_rng(0).normal(size=(n, 2))
    columns = [Column("type", "category", np.array([f"type {i}" for i in range(20)] * 200))]
    page = explorer_html(cells(n, places={"m": places}, columns=columns, is_query=np.arange(n) < n_query), "e")
    picture = base64.b64decode(re.search(r'src="data:image/png;base64,([^"]*)"', page).group(1))
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    drawn = {color for _, color in image.getcolors()}
    assert image.getpixel((0, 0)) == (255, 255, 255)
    shown = explorer_still.PALETTE[: min(n_query, 20)] + ([] if n_query == n else [explorer_still.GREY])
    assert {tuple(round(255 * part) for part in to_rgb(color)) for color in shown} <= drawn


def test_a_picture_without_categories_and_without_query():
    page = explorer_html(cells(columns=[Column("score", "number", np.arange(6))], is_query=np.ones(6, bool)), "e")
    assert "image/png" in page


def test_assets_have_no_end_of_an_element_and_no_code_from_text():
    style, script = explorer_assets()
    assert "</" not in style + script
    for forbidden in (
        "eval(",
        "new Function",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "fetch(",
    ):
        assert forbidden not in script
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"is_query": np.zeros(5, bool)}, "'is_query': 5"),
        ({"places": {"scvi": np.zeros((4, 2))}}, "'places of scvi': 4"),
        ({"columns": [Column("label", "category", np.zeros(7))]}, "'column label': 7"),
        ({"columns": [Column("label", "text", np.zeros(6))]}, r"unknown kinds of columns \['text'\]"),
        ({"columns": []}, "needs cells"),
        ({"places": {}}, "needs cells"),
        ({"genes": sparse.csr_matrix((6, 2)), "gene_names": ["a"]}, "1 gene names for 2 genes"),
        ({"genes": sparse.csr_matrix((5, 2)), "gene_names": ["a", "b"]}, "'genes': 5"),
    ],
)
def test_parts_that_do_not_fit(other, message):
    with pytest.raises(ValueError, match=message):
        cells(**other)


def test_a_sample_keeps_all_cells_of_rare_labels():
    labels = pd.Series(["common"] * 9_000 + ["usual"] * 980 + ["rare"] * 12 + [None] * 8)
    rows = stratified_sample(labels, 1_000, seed=3)
    counts = labels.iloc[rows].value_counts(dropna=False)
    assert len(rows) == len(set(rows)) == 1_000
    assert (np.diff(rows) > 0).all()
    assert counts["rare"] == 12
    assert labels.iloc[rows].isna().sum() == 8
    # 980 cells are left: 125 each at first, and the other 730 in proportion to 8,875 and 855.
    assert counts["common"] == 125 + 666
    assert counts["usual"] == 125 + 64


def test_a_sample_is_the_same_for_the_same_seed_only():
    labels = pd.Series(np.arange(5_000) % 7)
    first = stratified_sample(labels, 500, seed=1)
    assert first.tolist() == stratified_sample(labels, 500, seed=1).tolist()
    assert first.tolist() != stratified_sample(labels, 500, seed=2).tolist()


def test_a_sample_of_fewer_cells_has_them_all():
    assert stratified_sample(pd.Series(["a", "b", "a"]), 3, seed=0).tolist() == [0, 1, 2]


def test_a_sample_with_more_labels_than_cells():
    assert len(stratified_sample(pd.Series(np.arange(1_000)), 10, seed=0)) == 10


def test_a_sample_takes_categoricals():
    labels = pd.Series(pd.Categorical(["a"] * 90 + ["b"] * 10 + [None], categories=["b", "a", "unused"]))
    rows = stratified_sample(labels, 40, seed=0)
    # Six of each label at first, and the one cell without a label; the other 27 in proportion to 84 and 4.
    assert labels.iloc[rows].value_counts(dropna=False).to_list() == [32, 7, 1, 0]
