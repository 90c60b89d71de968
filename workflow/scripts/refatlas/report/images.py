"""Images within the report's page."""

import base64
from collections.abc import Mapping
from pathlib import Path


def embed_png(path: str | Path) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()


def folder_figures(folders: Mapping[str, str | Path]) -> list[tuple[str, str]]:
    """Return title and data URL of every PNG in folders of tables.

    Args:
        folders: by the name that their titles begin with.
    """
    return [
        (f"{title}: {path.stem.replace('_', ' ')}", embed_png(path))
        for title, folder in folders.items()
        for path in sorted(Path(folder).glob("*.png"))
    ]
