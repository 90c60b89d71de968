"""Requests that are made again after a failure that may pass: a busy server, one that is down, a cut connection."""

import time
from collections.abc import Callable

from refatlas.errors import InputError

# Answers of a server after which a request may succeed.
PASSING = (408, 429, 500, 502, 503, 504)
ATTEMPTS = 5
# Seconds before the second attempt; each later wait is twice as long.
FIRST_WAIT = 2.0
# A server that asks for more patience than this is not waited for.
LONGEST_WAIT = 600.0


class PassingError(Exception):
    """A request failed and may succeed later.

    Attributes:
        wait: seconds that the server asks to wait; None if it says nothing.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


def with_retries[T](request: Callable[[], T], what: str) -> T:
    """Return what `request()` returns, calling it again after a PassingError.

    Args:
        request: may be called several times, and does nothing twice.
        what: is done, for messages.

    Raises:
        InputError: it failed ATTEMPTS times, or the server asks to wait too long.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request()
        except PassingError as error:
            reason = str(error)
            wait = FIRST_WAIT * 2 ** (attempt - 1) if error.wait is None else error.wait
        if attempt == ATTEMPTS or wait > LONGEST_WAIT:
            break
        print(f"{what}: {reason}; trying again in {wait:g} s", flush=True)
        time.sleep(wait)
    asked = f", which asks to wait {wait:g} s" if wait > LONGEST_WAIT else f", after {attempt} attempts"
    raise InputError(f"{what}: {reason}{asked}; run again later: what has arrived is not sent again")


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds in a header Retry-After; None without one, or if it has a date."""
    return float(retry_after) if retry_after and retry_after.strip().isdigit() else None
