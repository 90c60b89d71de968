"""Makes the pictures of the report in the documentation.

usage: .venv/bin/python measurements/report_pictures.py RESULTS OUT
    RESULTS  results folder of the demo (make demo)
    OUT      folder of the pictures: docs/images

Needs chromium on the path.
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report, out = Path(sys.argv[1]).resolve() / "report", Path(sys.argv[2])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.goto((report / "index.html").as_uri())
        page.screenshot(path=out / "report_verdict.png", clip={"x": 0, "y": 0, "width": 1280, "height": 330})
        page.goto((report / "queries/inflamed.html").as_uri())
        page.wait_for_selector("#cells canvas")
        page.wait_for_timeout(1000)
        page.evaluate("document.getElementById('explore').scrollIntoView()")
        page.screenshot(path=out / "report_query.png")
        browser.close()


if __name__ == "__main__":
    main()
