"""The package's layers: no module imports one of a higher layer, and modules do not import each other in circles."""

import ast
from pathlib import Path

import pytest

import refatlas

PACKAGE = Path(refatlas.__file__).parent
# From the bottom up; modules of the package itself stand by their own names.
LAYERS = (
    ("errors", "revisions", "cache_folders"),
    ("numba_cache",),
    ("io",),
    ("plots",),
    ("neighbors",),
    ("prepare",),
    ("receptors",),
    ("transfer",),
    ("models",),
    ("evaluate",),
    ("annotate",),
    ("differential",),
    ("spatial",),
    ("config",),
    ("resources",),
    ("remote",),
    ("report",),
    ("bundle",),
    ("publish",),
    ("jobs",),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if path != PACKAGE / "__init__.py"
}


def imported(path: Path) -> set[str]:
    """Return the modules of the package that a file imports anywhere, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "refatlas":
            base = node.module.removeprefix("refatlas").lstrip(".")
            for alias in node.names:
                full = f"{base}.{alias.name}".lstrip(".")
                found.add(full if full in MODULES else base)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("refatlas.")]
            found |= {name.removeprefix("refatlas.") for name in names}
    return found - {""}


def test_every_module_has_a_layer():
    assert {name.split(".")[0] for name in MODULES} == set(LEVEL)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_runs_upwards(module):
    own = LEVEL[module.split(".")[0]]
    upward = {other for other in imported(MODULES[module]) if LEVEL[other.split(".")[0]] > own}
    assert upward == set()


def test_no_modules_import_each_other_in_a_circle():
    done, circles = set(), []

    def visit(module: str, way: tuple[str, ...]) -> None:
        if module in way:
            circles.append(way[way.index(module) :])
        elif module not in done:
            for other in sorted(imported(MODULES[module]) & set(MODULES)):
                visit(other, (*way, module))
            done.add(module)

    for module in sorted(MODULES):
        visit(module, ())
    assert circles == []
