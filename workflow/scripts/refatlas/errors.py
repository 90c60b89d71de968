"""The error for everything that a user can correct."""

from collections.abc import Iterable


class InputError(ValueError):
    """A file, sheet or setting of the user is wrong.

    The message names it, the value found, what is expected, and how to correct it.
    """


def shown(name: object, limit: int = 80) -> str:
    """Return a name as it may appear in a message: long names are cut, unprintable ones escaped."""
    text = str(name)
    text = text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"
    return text if text.isprintable() else repr(text)[1:-1]


def listed(names: Iterable[object], limit: int = 8) -> str:
    """Return names as a list for a message, cut after `limit` of them, or "none"."""
    texts = [shown(name) for name in names]
    more = f" and {len(texts) - limit} more" if len(texts) > limit else ""
    return ", ".join(texts[:limit]) + more if texts else "none"
