"""Values checked against a JSON schema, with defaults filled in, and errors that name the key that
was probably meant.
"""

import difflib
import math
import re
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from refatlas.errors import InputError, listed, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Names become names of files, with something before and after them.
MAX_NAME = 100
# Snakemake puts its own values in place of {name} and <name> in a path.
PLACEHOLDER = re.compile(r"[{}<>]")
# What a configuration may hold: YAML's anchors can make a few lines stand for more than a memory
# holds.
MAX_VALUES, MAX_DEPTH, LARGEST = 100_000, 20, 2**31 - 1
MAX_PARSED = 1000
# 1.0 is no integer here, because it is none in Python.
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def require_name(name, where: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"{where} {shown(repr(name))} is not allowed; use letters, digits, '.', '_' and '-', and begin with a"
            " letter or digit"
        )
    if len(name) > MAX_NAME:
        raise InputError(
            f"{where} {shown(repr(name))} is too long for a part of a file's name; use at most {MAX_NAME} characters"
        )


def require_plain_path(path: str, where: str) -> None:
    if PLACEHOLDER.search(path):
        raise InputError(
            f"{where}: {shown(repr(path), 300)} has one of {{ }} < >, in which Snakemake looks for placeholders; rename"
            " the file, or give a symbolic link to it"
        )


def checked(value: dict, schema: dict, where: str) -> dict:
    """Return a copy of a mapping with the schema's defaults, or raise an InputError for the first
    thing wrong in it.
    """
    value = _with_defaults(value, schema)
    n_values = _count_values(value, where, {})
    if n_values > MAX_VALUES:
        raise InputError(
            f"{where}: {n_values:,} values, with what its anchors (&, *) repeat; no configuration needs more than"
            f" {MAX_VALUES:,}"
        )
    errors = sorted(Validator(schema).iter_errors(value), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise InputError(_message(errors[0], where))
    return value


def _count_values(value, where: str, counted: dict[int, int], depth: int = 0) -> int:
    """Return how many values a nested value holds, with repetitions, but looking at each once.

    Args:
        counted: of the lists and mappings that were looked at.

    Raises:
        InputError: it is nested too deep (for ever, if it holds itself), or a number or a text is
            none that a setting can have.
    """
    if not isinstance(value, dict | list):
        _require_plain_value(value, where)
        return 1
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} levels deep, as no setting is")
    if id(value) not in counted:
        for key in value if isinstance(value, dict) else ():
            _require_plain_value(key, where)
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        counted[id(value)] = 1 + sum(
            _count_values(part, f"{where}: {shown(key)}" if isinstance(key, str) else where, counted, depth + 1)
            for key, part in parts
        )
    return counted[id(value)]


def _require_plain_value(value, where: str) -> None:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InputError(f"{where}: a number of {value.bit_length()} bits; numbers may be at most {LARGEST:,}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is not a finite number")
    if isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
        raise InputError(
            f"{where}: {shown(repr(value))} has characters that no file can hold (NUL, or half of a surrogate pair)"
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _with_defaults(value, schema: dict):
    if isinstance(value, str) and "string" not in _types(schema):
        return _parsed(value)
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = part["default"]
        if key in filled:
            filled[key] = _with_defaults(filled[key], part)
    return filled


def _parsed(value: str):
    """Return what a string means as YAML: nested values of --config come as strings. Long ones are
    not looked at: YAML takes minutes for some.
    """
    if len(value) > MAX_PARSED:
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return value


def _types(schema: dict) -> set[str]:
    """Return the types that a value may have; "string" for a choice of words or where nothing is
    said.
    """
    if "anyOf" in schema:
        return set().union(*(_types(part) for part in schema["anyOf"]))
    found = schema.get("type", "string")
    return {found} if isinstance(found, str) else set(found)


def _message(error, where: str) -> str:
    place = ": ".join([where, *map(str, error.absolute_path)])
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        return (
            f"{place}: unknown key {shown(repr(unknown[0]))}{did_you_mean(unknown[0], known)}; known keys:"
            f" {', '.join(known)}"
        )
    if error.validator == "enum":
        return (
            f"{place}: {shown(repr(error.instance))} is none of"
            f" {listed(error.validator_value, 20)}{did_you_mean(error.instance, error.validator_value)}"
        )
    if error.validator == "type":
        return f"{place}: {shown(repr(error.instance))} is of the wrong type; expected {error.validator_value}"
    return f"{place}: {shown(error.message, 300)}" + (
        f" ({error.schema['description']})" if "description" in error.schema else ""
    )


def did_you_mean(word, known) -> str:
    near = difflib.get_close_matches(str(word)[:MAX_NAME], [str(k) for k in known], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def read_text(path: str, where: str) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: byte {error.start} is no text in UTF-8; save the file as plain text in UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise InputError(f"{where}: has NUL characters; save the file as plain text in UTF-8")
    return text
