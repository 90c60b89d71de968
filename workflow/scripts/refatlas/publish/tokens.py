"""Tokens of services: from the environment alone, and never in what is written."""

import os
import traceback
from collections.abc import Callable

from refatlas.errors import InputError

HIDDEN = "(token)"


def read_token(variable: str, service: str) -> str:
    """Return the token in an environment variable.

    Raises:
        InputError: the variable is empty, or its value cannot be part of a request.
    """
    token = os.environ.get(variable, "").strip()
    if not token:
        raise InputError(
            f"the environment variable {variable} is not set, so that nothing can be sent to {service}; make a token"
            f" there, and run: export {variable}=..."
        )
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise InputError(f"the environment variable {variable} has spaces or other characters that no token has")
    return token


def without(token: str, text: object) -> str:
    """Return a text in which the token is replaced."""
    return str(text).replace(token, HIDDEN)


def with_token_hidden[T](token: str, work: Callable[[], T]) -> T:
    """Return what `work()` returns, and keep a token out of its errors.

    One whose message or traceback has the token is raised again without it: the log of a job ends
    with the traceback, and libraries may put requests into their messages.
    """
    try:
        return work()
    except Exception as error:
        if token not in "".join(traceback.format_exception(error)):
            raise
        own = isinstance(error, InputError)
        text = without(token, error if own else f"{type(error).__name__}: {error}")
        hidden = InputError(text) if own else RuntimeError(text)
    # Outside of the handler: otherwise Python would keep the original error as the context of this one.
    raise hidden
