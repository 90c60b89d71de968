"""The explorer of an embedding in Chromium: what is drawn, chosen, filtered and saved, by mouse and by keyboard.

The query has 30 cells of each of A, B and D; the reference has 200 of each of A, B and C. They lie in the corners of a
square: A at the lower left, B at the lower right, C at the upper left, D at the upper right. The second model turns
the square upside down.
"""

import csv
import io
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from explorer_pages import BROWSER, page
from refatlas.report.explorer import Column, ExplorerData

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if CHROMIUM is None:
    pytest.skip("no chromium on the path", allow_module_level=True)

HOSTILE = "</script><img src=x onerror=alert(1)>"
CORNERS = {"A": (0, 0), HOSTILE: (10, 0), "C": (0, 10), "D": (10, 10)}
# In the order of the names: HOSTILE, A, C, D.
BLUE, ORANGE, GREEN, PURPLE = (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167)
GREY, YELLOW = (215, 217, 220), (253, 231, 37)
FORMULA = '=HYPERLINK("x")'


def planted() -> ExplorerData:
    rng = np.random.default_rng(0)
    label = np.repeat(["A", HOSTILE, "C", "A", HOSTILE, "D"], [200, 200, 200, 30, 30, 30])
    is_query = np.arange(len(label)) >= 600
    places = np.array([CORNERS[name] for name in label]) + rng.uniform(-0.8, 0.8, (len(label), 2))
    status = np.where(label == "D", "novel", "assigned").astype(object)
    status[~is_query] = None
    cells = [f"cell{i}" for i in range(len(label))]
    cells[660] = FORMULA
    columns = [
        Column("label", "category", label),
        Column("status", "category", status),
        Column("confidence", "number", np.where(is_query, rng.uniform(0.2, 1, len(label)), np.nan)),
        Column("batch", "category", np.repeat(["b1", "b2"], [345, 345]), "reference"),
    ]
    genes = np.column_stack([np.where(label == "D", 3.0, 0.0), np.where(is_query, 1.0, 0)])
    models = {"first": places, "upside down": places * [1, -1]}
    return ExplorerData(
        cells, is_query, models, columns, sparse.csr_matrix(genes), ["MARK", HOSTILE], f"A sample {HOSTILE}.", "chosen"
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    file = tmp_path_factory.mktemp("explorer") / "page.html"
    file.write_text(page(planted()), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as driver:
        yield driver.chromium


@pytest.fixture(scope="module")
def browser(chromium):
    found = chromium.launch(executable_path=CHROMIUM, args=BROWSER)
    yield found
    found.close()


@pytest.fixture
def tab(browser, address):
    """The page, ready; nothing may be reported on its console."""
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(dialog.message))
    opened.goto(address)
    wait_until_ready(opened)
    yield opened
    opened.close()
    assert complaints == []


def wait_until_ready(tab) -> None:
    tab.wait_for_selector('.explorer[data-state="ready"]')
    tab.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def pixels(tab, top: int = 60) -> np.ndarray:
    """Return what the picture shows below its buttons and without its edges, shape (height, width, 3)."""
    image = Image.open(io.BytesIO(tab.locator(".explorer-stage").screenshot())).convert("RGB")
    return np.asarray(image, dtype=int)[top:-3, 3:-3]


def near(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Return which pixels have a color, nearly; edges of other cells come near to grey."""
    return np.linalg.norm(image - color, axis=2) < (12 if color == GREY else 45)


def count(tab, color: tuple[int, int, int]) -> int:
    return int(near(pixels(tab), color).sum())


def at(tab, x: float, y: float) -> tuple[float, float]:
    """Return the point of the window at a share of the picture's width and height."""
    box = tab.locator(".explorer-canvas").bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def draw_lasso(tab, *corners: tuple[float, float]) -> None:
    tab.get_by_role("button", name="Lasso").click()
    tab.mouse.move(*at(tab, *corners[0]))
    tab.mouse.down()
    for corner in corners[1:]:
        tab.mouse.move(*at(tab, *corner), steps=6)
    tab.mouse.up()


def choose_upper_right(tab) -> None:
    draw_lasso(tab, (0.55, 0.02), (0.98, 0.02), (0.98, 0.45), (0.55, 0.45))
    tab.wait_for_selector(".explorer-cells")


def status(tab) -> str:
    return tab.locator(".explorer-status").inner_text()


def legend_button(tab, name: str):
    return tab.locator(".explorer-legend li button").filter(has=tab.get_by_text(name, exact=True))


def test_the_query_is_drawn_in_colours_over_a_grey_reference(tab):
    image = pixels(tab)
    assert near(image, GREY).sum() > 1_000
    assert min(near(image, color).sum() for color in (BLUE, ORANGE, PURPLE)) > 200
    assert near(image, GREEN).sum() == 0
    assert status(tab) == "90 query cells over 600 reference cells."
    assert tab.locator(".explorer-still").is_hidden()


def test_hostile_texts_are_shown_as_texts(tab):
    assert legend_button(tab, HOSTILE).count() == 1
    assert tab.locator("img[src=x]").count() == 0
    assert tab.locator(".explorer-note").inner_text() == f"A sample {HOSTILE}."


def test_the_legend_lists_categories_of_the_query_by_size(tab):
    texts = tab.locator(".explorer-legend li").all_inner_texts()
    assert sorted(" ".join(text.split()) for text in texts) == sorted([f"{HOSTILE} 30", "A 30", "D 30"])
    tab.get_by_label("Colour the reference too").check()
    texts = [" ".join(text.split()) for text in tab.locator(".explorer-legend li").all_inner_texts()]
    assert texts[2:] == ["C 200", "D 30"]
    assert count(tab, GREEN) > 500


def test_another_column_changes_the_colours(tab):
    tab.get_by_label("Colour by", exact=True).select_option("status")
    wait_until_ready(tab)
    image = pixels(tab)
    assert near(image, BLUE).sum() > near(image, ORANGE).sum() > 200
    assert near(image, PURPLE).sum() == 0
    tab.get_by_label("Colour by", exact=True).select_option("confidence")
    wait_until_ready(tab)
    assert count(tab, ORANGE) < 30
    assert tab.locator(".explorer-ends").inner_text().split()[-1] in ("1", "0.999", "0.998", "0.997", "0.996", "0.995")


def test_the_legend_hides_a_category_and_shows_only_one(tab):
    button = legend_button(tab, "D")
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    assert count(tab, PURPLE) == 0
    assert status(tab) == "60 of 90 cells are shown."
    button.click(modifiers=["Shift"])
    assert (count(tab, BLUE), count(tab, ORANGE)) == (0, 0)
    assert count(tab, PURPLE) > 200
    tab.get_by_role("button", name="None").click()
    assert status(tab) == "0 of 90 cells are shown."
    legend_button(tab, "A").dblclick()
    assert count(tab, ORANGE) > 200
    assert status(tab) == "30 of 90 cells are shown."
    tab.get_by_role("button", name="All", exact=True).click()
    assert count(tab, PURPLE) > 200


def test_a_filter_stays_while_another_column_is_shown(tab):
    tab.get_by_label("Colour by", exact=True).select_option("status")
    wait_until_ready(tab)
    legend_button(tab, "novel").click()
    tab.get_by_label("Colour by", exact=True).select_option("label")
    wait_until_ready(tab)
    assert count(tab, PURPLE) == 0
    assert "hidden by status" in tab.locator(".explorer-others").inner_text()
    tab.get_by_role("button", name="Show all cells", exact=True).last.click()
    assert count(tab, PURPLE) > 200


@pytest.mark.parametrize(("part", "shown", "hidden"), [("query", PURPLE, GREEN), ("reference", GREEN, PURPLE)])
def test_only_one_part_is_shown(tab, part, shown, hidden):
    tab.get_by_label(part, exact=True).check(force=True)
    image = pixels(tab)
    assert near(image, GREY).sum() < 30
    assert near(image, shown).sum() > 200
    assert near(image, hidden).sum() == 0


def test_another_model_moves_the_cells(tab):
    before = np.argwhere(near(pixels(tab), PURPLE)).mean(axis=0)
    tab.get_by_label("Model").select_option("upside down")
    wait_until_ready(tab)
    after = np.argwhere(near(pixels(tab), PURPLE)).mean(axis=0)
    assert after[0] > before[0] + 200
    assert after[1] == pytest.approx(before[1], abs=20)


def test_a_gene_gives_colours(tab):
    field = tab.get_by_label("Colour by a gene")
    field.fill("mar")
    assert tab.locator("datalist option").evaluate_all("all => all.map((one) => one.value)") == ["MARK"]
    field.fill("mark")
    field.press("Enter")
    tab.locator(".explorer-legend .explorer-title", has_text="MARK").wait_for()
    wait_until_ready(tab)
    assert count(tab, YELLOW) > 200
    assert tab.locator(".explorer-ends").inner_text().split() == ["0", "3"]
    # Of the reference, only cells of which no gene was measured are without a value.
    tab.get_by_label("reference", exact=True).check(force=True)
    assert "600 cells without a value" in tab.locator(".explorer-legend").inner_text()


def test_an_unknown_gene_is_reported(tab):
    field = tab.get_by_label("Colour by a gene")
    field.fill("nothing")
    field.press("Enter")
    assert status(tab) == "No gene named nothing among the 2 genes of this page."


def test_hovering_shows_the_cell_and_a_click_pins_it(tab):
    found = near(pixels(tab), PURPLE)
    row, column = np.argwhere(found)[found.sum() // 2]
    box = tab.locator(".explorer-stage").bounding_box()
    place = float(box["x"] + column + 3), float(box["y"] + row + 60)
    tab.mouse.move(*place)
    tip = tab.locator(".explorer-tip")
    tip.wait_for(state="visible")
    assert "label: D" in tip.inner_text()
    assert "query cell" in tip.inner_text()
    assert tip.inner_text().startswith(("cell6", "=HYPER"))
    tab.mouse.click(*place)
    tab.mouse.move(*at(tab, 0.5, 0.5))
    tab.wait_for_timeout(200)
    assert tip.is_visible()
    assert "label: D" in status(tab)
    tab.keyboard.press("Escape")
    assert tip.is_hidden()


def test_the_lasso_chooses_a_cluster_and_counts_it(tab):
    choose_upper_right(tab)
    assert tab.locator(".explorer-head p").inner_text() == "30 cells chosen (30 query, 0 reference)"
    tables = tab.locator(".explorer-counts table").all_inner_texts()
    assert [text.split() for text in tables] == [
        ["Chosen", "cells", "by", "label", "label", "query", "reference", "D", "30", "0"],
        ["Chosen", "cells", "by", "status", "status", "query", "reference", "novel", "30", "0"],
    ]
    assert tab.locator(".explorer-cells tbody tr").count() == 30
    assert tab.locator(".explorer-overlay polygon").get_attribute("points") == ""
    # The other cells are faint.
    assert (count(tab, BLUE), count(tab, ORANGE)) == (0, 0)
    assert count(tab, PURPLE) > 200
    tab.keyboard.press("Escape")
    assert tab.locator(".explorer-chosen").is_hidden()
    assert count(tab, BLUE) > 200


def test_the_lasso_leaves_out_hidden_cells(tab):
    legend_button(tab, HOSTILE).click()
    draw_lasso(tab, (0.55, 0.55), (0.98, 0.55), (0.98, 0.98), (0.55, 0.98))
    tab.wait_for_selector(".explorer-cells")
    assert tab.locator(".explorer-head p").inner_text() == "200 cells chosen (0 query, 200 reference)"
    draw_lasso(tab, (0.45, 0.45), (0.55, 0.45), (0.5, 0.55))
    tab.wait_for_selector(".explorer-chosen", state="hidden")
    assert status(tab) == "No cell is within the lasso."


def test_the_saved_csv_has_the_chosen_cells_and_no_formula(tab):
    choose_upper_right(tab)
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Save as csv").click()
    assert download.value.suggested_filename == "chosen.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {f"cell{i}" for i in range(661, 690)} | {f"'{FORMULA}"}
    assert {row["cell"] for row in rows} == expected
    assert len(rows) == 30
    assert {(row["part"], row["label"], row["status"]) for row in rows} == {("query", "D", "novel")}
    data = planted()
    truth = pd.Series(data.columns[2].values, index=data.cells).rename(index={FORMULA: f"'{FORMULA}"})
    saved = pd.Series({row["cell"]: float(row["confidence"]) for row in rows})
    assert saved.to_numpy() == pytest.approx(truth[saved.index].to_numpy(), abs=0.005)


def test_the_keyboard_does_it_all(tab):
    canvas = tab.locator(".explorer-canvas")
    canvas.focus()
    first = pixels(tab)
    for key in ("+", "ArrowLeft", "ArrowDown", "-"):
        before = pixels(tab)
        tab.keyboard.press(key)
        tab.wait_for_timeout(300)
        assert (pixels(tab) != before).any(), key
    tab.keyboard.press("0")
    assert (pixels(tab) == first).all()
    tab.keyboard.press("l")
    assert tab.get_by_role("button", name="Lasso").get_attribute("aria-pressed") == "true"
    tab.keyboard.press("Escape")
    assert tab.get_by_role("button", name="Lasso").get_attribute("aria-pressed") == "false"
    for _ in range(6):
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowUp")
    tab.wait_for_timeout(300)
    legend_button(tab, "D").focus()
    tab.keyboard.press("Enter")
    assert status(tab) == "60 of 90 cells are shown."


def test_enter_names_the_cell_in_the_middle(tab):
    canvas = tab.locator(".explorer-canvas")
    tab.mouse.move(*at(tab, 0.5, 0.5))
    canvas.focus()
    box = canvas.bounding_box()
    for _ in range(round(0.35 * box["height"] / 40)):
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Enter")
    tab.locator(".explorer-pinned").wait_for(state="visible")
    assert "label: D" in tab.locator(".explorer-tip").inner_text()


def test_wheel_and_drag_move_the_view(tab):
    before = np.argwhere(near(pixels(tab), PURPLE)).mean(axis=0)
    tab.mouse.move(*at(tab, 0.5, 0.5))
    tab.mouse.down()
    tab.mouse.move(*at(tab, 0.4, 0.5), steps=4)
    tab.mouse.up()
    tab.wait_for_timeout(300)
    after = np.argwhere(near(pixels(tab), PURPLE)).mean(axis=0)
    width = tab.locator(".explorer-canvas").bounding_box()["width"]
    assert before[1] - after[1] == pytest.approx(0.1 * width, abs=6)
    tab.mouse.wheel(0, 300)
    tab.wait_for_timeout(300)
    assert count(tab, GREY) < near(pixels(tab), GREY).size
    spread = np.ptp(np.argwhere(near(pixels(tab), BLUE)), axis=0)
    tab.mouse.wheel(0, -300)
    tab.wait_for_timeout(300)
    assert (np.ptp(np.argwhere(near(pixels(tab), BLUE)), axis=0) > spread).all()


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_overflows(tab, width):
    choose_upper_right(tab)
    tab.set_viewport_size({"width": width, "height": 800})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert near(pixels(tab, top=3), PURPLE).sum() > 50


def test_axe_finds_nothing(tab):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    choose_upper_right(tab)
    found = axe.Axe().run(tab).response["violations"]
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_the_printed_page_has_the_picture_and_the_legend(tab):
    tab.emulate_media(media="print")
    assert tab.locator(".explorer-tools").is_hidden()
    assert legend_button(tab, "D").is_visible()
    assert near(np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB"), int), PURPLE).sum() > 100


def test_long_names_are_shown_too(browser, tmp_path):
    data = planted()
    names = [*data.cells[:-1], "long" * 30]
    (tmp_path / "page.html").write_text(page(replace(data, cells=names)), encoding="utf-8")
    tab = browser.new_page()
    tab.goto((tmp_path / "page.html").as_uri())
    wait_until_ready(tab)
    choose_upper_right(tab)
    shown = tab.locator(".explorer-cells tbody td:first-child").all_inner_texts()
    assert sorted(shown) == sorted(names[660:])
    tab.close()


def test_without_webgl_the_picture_is_shown(chromium, address):
    browser = chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-3d-apis"])
    tab = browser.new_page()
    tab.goto(address)
    tab.wait_for_selector('.explorer[data-state="still"]')
    assert tab.locator(".explorer-still img").is_visible()
    assert tab.locator(".explorer-still img").evaluate("(image) => image.naturalWidth") > 300
    assert "cannot draw the embedding with WebGL 2" in tab.locator("figcaption").inner_text()
    assert tab.locator(".explorer-frame").count() == 0
    browser.close()


def test_without_script_the_picture_is_shown(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address)
    assert tab.locator(".explorer-still img").is_visible()
    assert "Scripts are off" in tab.locator("figcaption").inner_text()
    assert HOSTILE in tab.locator("figcaption").inner_text()
    context.close()
