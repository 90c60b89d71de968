"""The report in a real Chromium, as a person would use it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (360, 768, 1280, 1920)
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle", "--use-angle=swiftshader"]


@contextmanager
def chromium() -> Iterator[Any]:
    """Yield a browser, or skip the test where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*FLAGS, "--enable-unsafe-swiftshader"])
        yield browser
        browser.close()


def opened(browser: Any, path: Path) -> tuple[Any, list[str]]:
    """Return a page, and the list that all messages of its console and all requests to elsewhere are added to."""
    page, said = browser.new_page(), []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else said.append(r.url))
    page.goto(path.as_uri())
    page.wait_for_load_state()
    return page, said


def check_page(browser: Any, path: Path) -> None:
    """Check that a page says nothing on the console, asks nothing of the web, fits all widths and passes axe."""
    from axe_playwright_python.sync_playwright import Axe

    page, said = opened(browser, path)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path.name} overflows at {width}"
    for part in page.locator("details").all():
        part.evaluate("part => part.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[-1]
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    dangling = "links => links.filter(a => !document.getElementById(a.hash.slice(1))).map(a => a.hash)"
    assert page.locator("a[href^='#']").evaluate_all(dangling) == []
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert said == []
    page.close()


def column(page: Any, name: str, number: int) -> list[str]:
    """Return the texts of a column of the table with this name, as they stand."""
    cells = page.get_by_role("region", name=name, exact=True).locator(f"tbody tr td:nth-child({number + 1})")
    return cells.all_inner_texts()
