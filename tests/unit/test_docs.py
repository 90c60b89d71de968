"""The documentation agrees with the schemas, the rules and the version."""

import re
import subprocess
import sys

import refatlas
from conftest import REPO

DOCS = REPO / "docs"


def test_generated_pages_agree_with_the_schemas():
    command = [sys.executable, DOCS / "generate_reference.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_changed_default_is_found(tmp_path):
    folder = tmp_path / "docs"
    (folder / "reference").mkdir(parents=True)
    for name in ("generate_reference.py", "reference/configuration.md", "reference/sheets.md"):
        text = (DOCS / name).read_text()
        (folder / name).write_text(text.replace("default: `2000`", "default: `2001`"))
    command = [sys.executable, folder / "generate_reference.py", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "docs/reference/configuration.md differs from the schemas" in run.stderr


def test_results_page_names_every_output():
    page = (DOCS / "reference/results.md").read_text()
    rules = "".join(file.read_text() for file in (REPO / "workflow/rules").glob("*.smk"))
    outputs = re.findall(r"    output:\n(.*?)\n    log:", rules, flags=re.DOTALL)
    names = {name for text in outputs for name in re.findall(r'"<results>/[^"]*?([^/"]+)"', text)}
    shortened = {"{model}_tree.csv": "`.csv`", "{model}_tree.png": "`.png`", "{name}.h5ad": "{query}.h5ad"}
    assert len(names) > 40
    assert [name for name in sorted(names) if shortened.get(name, name) not in page] == []


def test_every_page_is_in_the_navigation_and_every_image_is_used():
    navigation = (REPO / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert [page for page in sorted(pages) if f": {page}\n" not in navigation] == []
    text = "".join(path.read_text() for path in DOCS.rglob("*.md"))
    assert [path.name for path in sorted((DOCS / "images").iterdir()) if f"images/{path.name}" not in text] == []


def test_changelog_and_citation_have_the_version():
    versions = re.findall(r"^## (\S+)$", (REPO / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert versions[0] == refatlas.__version__
    assert f"\nversion: {refatlas.__version__}\n" in (REPO / "CITATION.cff").read_text()
