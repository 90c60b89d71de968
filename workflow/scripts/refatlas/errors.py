"""The error for everything that a user can mend."""


class InputError(ValueError):
    """A user's file, sheet or setting is wrong; the message names it, the value found, what is
    expected, and how to mend it.
    """


def shown(name, limit: int = 80) -> str:
    """Return a name as it may stand in a message: cut if it is long, and what does not print (line
    ends, a terminal's escapes) as Python writes it.
    """
    text = str(name)
    text = text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"
    return text if text.isprintable() else repr(text)[1:-1]


def listed(names, limit: int = 8) -> str:
    """Return names as a readable list for a message, cut after `limit` of them, or "none"."""
    names = [shown(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "none"
