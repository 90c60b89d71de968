"""The error for everything that a user can mend."""


class InputError(ValueError):
    """A user's file, sheet or setting is wrong; the message names it, the value found, what is expected, and how to mend it."""


def listed(names, limit: int = 8) -> str:
    """Return names as a readable list for a message, cut after `limit` of them, or "none"."""
    names = [str(name) for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more if names else "none"
