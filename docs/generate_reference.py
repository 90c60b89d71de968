"""Writes the generated parts of the reference pages: every setting and every column of the sheets,
from the schemas that the workflow checks them by.

    python docs/generate_reference.py            write the pages anew
    python docs/generate_reference.py --check    exit with an error if a page differs from the schemas

A page holds a part between `<!-- generated: NAME -->` and `<!-- end -->`; what stands around it is
written by hand.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import yaml

import refatlas
from refatlas.models.registry import MODEL_TYPES, settings_schema

DOCS = Path(__file__).parent
PAGES = ("reference/configuration.md", "reference/sheets.md")
SCHEMAS = Path(refatlas.__file__).parent / "config" / "schemas"
PART = re.compile(r"(?P<begin><!-- generated: (?P<name>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)
COLUMNS = 100
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
NAMES = {"object": "mapping", "array": "list"}


def read_schema(name: str) -> dict:
    """Return one of the workflow's schemas: config, contrast, external_labels, tune, reference or queries."""
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def parts() -> dict[str, str]:
    """Return the text of every generated part by its name."""
    config = read_schema("config")
    sections = {name: part for name, part in config["properties"].items() if "properties" in part}
    top_level = {
        **config,
        "properties": {name: part for name, part in config["properties"].items() if name not in sections},
    }
    found = {"config": definitions(top_level, "")}
    found |= {f"config.{name}": definitions(part, f"{name}.") for name, part in sections.items()}
    found |= {f"model.{kind}": definitions(settings_schema(kind), "") for kind in MODEL_TYPES}
    found |= {name: definitions(read_schema(name), "") for name in ("contrast", "external_labels", "tune")}
    return found | {f"sheet.{name}": definitions(read_schema(name), "") for name in ("reference", "queries")}


def definitions(schema: dict, prefix: str) -> str:
    """Return a Markdown definition list of all settings of an object, those of nested objects under
    their full names.
    """
    items = (definition(f"{prefix}{name}", part, required) for name, part, required in settings(schema))
    return "\n".join(items) + "\n"


def settings(schema: dict, prefix: str = "") -> Iterator[tuple[str, dict, bool]]:
    """Yield the full name of each setting of an object, its schema, and whether it must be given."""
    for name, part in schema["properties"].items():
        # A section that may be null is a setting too.
        if "properties" not in part or "null" in part["type"]:
            yield prefix + name, part, name in schema.get("required", ())
        if "properties" in part:
            yield from settings(part, f"{prefix}{name}.")


def definition(name: str, schema: dict, required: bool) -> str:
    """Return one setting: its name, type, default and description."""
    default = (
        "required" if required else f"default: `{as_json(schema['default'])}`" if "default" in schema else "optional"
    )
    about = [f"*{kind(schema)}; {default}*", sentence(schema.get("description", ""))]
    return f"`{name}`\n" + "\n".join(wrapped(text) for text in about if text) + "\n"


def wrapped(text: str) -> str:
    """Return one definition of a definition list."""
    return textwrap.fill(
        text, COLUMNS, initial_indent=":   ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def kind(schema: dict) -> str:
    """Return in words which values a setting may have."""
    if "enum" in schema:
        return ("one of " if len(schema["enum"]) > 1 else "") + ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(part) for part in schema["anyOf"])
    types = schema.get("type", "string")
    if types == "null":
        return "`null`"
    names = [NAMES.get(name, name) for name in ([types] if isinstance(types, str) else types) if name != "null"]
    text = " or ".join(names) + details(schema)
    return text + (" or `null`" if "null" in types else "")


def details(schema: dict) -> str:
    """Return what limits a value beside its type: bounds, and the kind of its members."""
    bounds = " and ".join(f"{sign} {schema[key]}" for key, sign in BOUNDS.items() if key in schema)
    members = schema.get("items") or schema.get("additionalProperties") or {}
    of = (
        f" of any of {kind(members).removeprefix('one of ')}"
        if "enum" in members
        else f" of {plural(kind(members))}"
        if "type" in members
        else ""
    )
    return (f" {bounds}" if bounds else "") + of


def plural(text: str) -> str:
    """Return a kind of value in the plural, where it begins with a plain word."""
    return f"{text}s" if re.fullmatch(r"[a-z]+", text) else re.sub(r"^(list|number|integer)\b", r"\1s", text)


def as_json(value) -> str:
    """Return a default as it can be typed into YAML."""
    return json.dumps(value, ensure_ascii=False)


def sentence(text: str) -> str:
    """Return a description with a capital at its begin and a full stop at its end."""
    first = text.split(" ")[0]
    start = first.capitalize() if first.isalpha() and first.islower() else first
    return start + text[len(first) :] + ("" if text.endswith((".", "!")) else ".") if text else ""


def filled_in(page: str, found: dict[str, str]) -> str:
    """Return a page with its generated parts written anew."""
    return PART.sub(lambda part: f"{part['begin']}\n{found[part['name']]}\n{part['end']}", page)


def main() -> int:
    """Write or check all pages; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail if a page differs from the schemas")
    check, found = parser.parse_args().check, parts()
    pages = {path: (DOCS / path).read_text(encoding="utf-8") for path in PAGES}
    named = [part["name"] for page in pages.values() for part in PART.finditer(page)]
    if sorted(named) != sorted(found):
        missing, unknown = sorted(set(found) - set(named)), sorted(set(named) - set(found))
        print(
            f"parts that no page has: {missing}; parts that no schema has: {unknown}; each must stand once",
            file=sys.stderr,
        )
        return 1
    changed = {path: page for path in PAGES if (page := filled_in(pages[path], found)) != pages[path]}
    for path, page in changed.items():
        if check:
            print(f"docs/{path} differs from the schemas; run python docs/generate_reference.py", file=sys.stderr)
        else:
            (DOCS / path).write_text(page, encoding="utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
