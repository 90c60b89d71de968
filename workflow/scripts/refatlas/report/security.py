"""What a page of the report may do: run its own script and show its own pictures, and nothing from elsewhere."""

import base64
import hashlib
from collections.abc import Sequence


def page_policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the Content-Security-Policy of a page, which names its own styles and scripts by their hashes.

    Args:
        styles: contents of the page's style elements, exactly as they stand between the tags.
        scripts: contents of its script elements, likewise.
    """
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data: blob:",
            f"style-src {_hashes(styles)}",
            f"script-src {_hashes(scripts)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hashes(texts: Sequence[str]) -> str:
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
