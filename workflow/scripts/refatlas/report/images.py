"""Images within the report's page."""

import base64
from pathlib import Path


def embed_png(path: str | Path) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(Path(path).read_bytes()).decode()
