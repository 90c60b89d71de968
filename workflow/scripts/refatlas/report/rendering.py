"""Pages of the report from their templates."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from refatlas.report.explorer import explorer_assets
from refatlas.report.security import page_policy

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, context: dict[str, Any]) -> str:
    """Return a page that needs no other file. Every value is escaped, so that HTML in a label is shown as text.

    Args:
        template: its file name, such as "index.html.j2".
        context: the values that it shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    styles, scripts = zip(explorer_assets(), _own_assets(), strict=True)
    policy = page_policy(styles, scripts)
    # Both are files of this package: nothing of the user's is in them.
    assets = {"styles": [Markup(text) for text in styles], "scripts": [Markup(text) for text in scripts]}
    return environment.get_template(template).render(**context, **assets, policy=policy)


def _own_assets() -> tuple[str, str]:
    style, script = (TEMPLATES / name for name in ("report.css", "report.js"))
    return style.read_text(encoding="utf-8"), script.read_text(encoding="utf-8")
