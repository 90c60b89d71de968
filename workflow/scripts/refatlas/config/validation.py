"""Validation against a JSON schema, with defaults filled in and helpful errors."""

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from refatlas.errors import InputError, listed, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Names become parts of file names, with a prefix and a suffix.
MAX_NAME = 100
# Snakemake replaces {name} and <name> in paths.
PLACEHOLDER = re.compile(r"[{}<>]")
# Limits of a configuration: with YAML anchors, a few lines can expand to more values than fit in
# memory.
MAX_VALUES, MAX_DEPTH, LARGEST = 100_000, 20, 2**31 - 1
# Longer strings are not parsed as YAML, which takes minutes for some.
MAX_PARSED = 1000
# By JSON Schema, 1.0 is an integer. In Python it is not.
Validator = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine(
        "integer", lambda _, value: isinstance(value, int) and not isinstance(value, bool)
    ),
)


def require_name(name: object, where: str) -> None:
    """Raise an InputError if a name cannot be part of a file name.

    Args:
        where: begin of the message: the place in the configuration or sheet.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(
            f"{where} {shown(repr(name))} is not allowed; use letters, digits, '.', '_' and '-', and begin with a"
            " letter or digit"
        )
    if len(name) > MAX_NAME:
        raise InputError(
            f"{where} {shown(repr(name))} is too long for a part of a file name; use at most {MAX_NAME} characters"
        )


def require_plain_path(path: str, where: str) -> None:
    """Raise an InputError if Snakemake would look for placeholders in a path."""
    if PLACEHOLDER.search(path):
        raise InputError(
            f"{where}: {shown(repr(path), 300)} contains one of {{ }} < >, which Snakemake takes for placeholders;"
            " rename the file, or give a symbolic link to it"
        )


def validate(value: dict[str, Any], schema: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a copy of a mapping with the schema's defaults filled in.

    Args:
        where: begin of error messages, such as "config".

    Raises:
        InputError: the mapping does not fit the schema. The message names the first error.
    """
    value = _fill_defaults(value, schema)
    n_values = _count_values(value, where, {})
    if n_values > MAX_VALUES:
        raise InputError(
            f"{where}: {n_values:,} values, counting what its anchors (&, *) repeat; a configuration may have at most"
            f" {MAX_VALUES:,}"
        )
    require_valid(value, schema, where)
    return value


def require_valid(value: Any, schema: dict[str, Any], where: str) -> None:
    """Raise an InputError that names the first error if a value does not fit a schema.

    Args:
        where: begin of the message.
    """
    errors = sorted(Validator(schema).iter_errors(value), key=lambda e: [str(p) for p in e.absolute_path])
    if errors:
        raise InputError(_message(errors[0], where))


def _count_values(value: Any, where: str, counted: dict[int, int], depth: int = 0) -> int:
    """Return the number of values in a nested value.

    Repeated parts count each time, but are visited once.

    Args:
        counted: results for the lists and mappings visited so far, by id.

    Raises:
        InputError: it is nested too deep (or contains itself), or a number or string cannot be a
            setting.
    """
    if not isinstance(value, dict | list):
        _require_plain_value(value, where)
        return 1
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nested more than {MAX_DEPTH} levels deep; no setting is")
    if id(value) not in counted:
        for key in value if isinstance(value, dict) else ():
            _require_plain_value(key, where)
        parts: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        counted[id(value)] = 1 + sum(
            _count_values(part, f"{where}: {shown(key)}" if isinstance(key, str) else where, counted, depth + 1)
            for key, part in parts
        )
    return counted[id(value)]


def _require_plain_value(value: Any, where: str) -> None:
    if isinstance(value, int) and abs(value) > LARGEST:
        raise InputError(f"{where}: a number of {value.bit_length()} bits; numbers may be at most {LARGEST:,}")
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is not a finite number")
    if isinstance(value, str) and ("\0" in value or not _is_encodable(value)):
        raise InputError(
            f"{where}: {shown(repr(value))} contains characters that are not allowed in text files (NUL, or half of a"
            " surrogate pair); remove them"
        )


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _fill_defaults(value: Any, schema: dict[str, Any]) -> Any:
    if isinstance(value, str) and "string" not in _types(schema):
        return _parse(value)
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = part["default"]
        if key in filled:
            filled[key] = _fill_defaults(filled[key], part)
    return filled


def _parse(value: str) -> Any:
    """Return the value of a string in YAML: nested values of --config arrive as strings."""
    if len(value) > MAX_PARSED:
        return value
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        return value


def _types(schema: dict[str, Any]) -> set[str]:
    """Return the JSON types that a schema allows; "string" for an enum, and if it names none.

    None for a constant, which is the same after parsing.
    """
    if "const" in schema:
        return set()
    if "anyOf" in schema:
        return set().union(*(_types(part) for part in schema["anyOf"]))
    found = schema.get("type", "string")
    return {found} if isinstance(found, str) else set(found)


def _message(error: ValidationError, where: str) -> str:
    """Return the first error of a validation in words."""
    place = ": ".join([where, *map(str, error.absolute_path)])
    schema: Any = error.schema
    expected: Any = error.validator_value
    if error.validator == "additionalProperties":
        known = list(schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        return (
            f"{place}: unknown key {shown(repr(unknown))}{did_you_mean(unknown, known)}; known keys: {', '.join(known)}"
        )
    if error.validator == "enum":
        allowed = f"{listed(expected, 20)}{did_you_mean(error.instance, expected)}"
        return f"{place}: {shown(repr(error.instance))} is not one of {allowed}"
    if error.validator == "type":
        return f"{place}: {shown(repr(error.instance))} has the wrong type; expected {_named_types(expected)}"
    message = f"{shown(repr(error.instance))} is not allowed" if error.validator == "anyOf" else error.message
    description = f" ({schema['description']})" if "description" in schema else ""
    return f"{place}: {shown(message, 300)}{description}"


def _named_types(types: str | list[str]) -> str:
    return types if isinstance(types, str) else " or ".join(types)


def did_you_mean(word: object, known: Iterable[object]) -> str:
    """Return the known word that is most like another, as the end of a sentence; "" if none is."""
    near = difflib.get_close_matches(str(word)[:MAX_NAME], [str(k) for k in known], n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def read_text(path: str, where: str) -> str:
    """Return the content of a text file in UTF-8, without a byte order mark.

    Raises:
        InputError: it cannot be read, or is not plain text in UTF-8.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: byte {error.start} is not valid UTF-8; save the file as plain text in UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror})") from None
    if "\0" in text:
        raise InputError(f"{where}: contains NUL characters; save the file as plain text in UTF-8")
    return text
