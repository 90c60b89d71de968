"""The JSON schemas of the configuration and the sheets."""

import copy
from functools import cache
from pathlib import Path

import yaml

from refatlas.models.registry import MODEL_TYPES

SCHEMAS = Path(__file__).parent / "schemas"


@cache
def _read_schema(name: str) -> dict:
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def load_schema(name: str) -> dict:
    """Return one of the schemas in workflow/schemas; the config's knows the settings of every
    registered model type.
    """
    schema = copy.deepcopy(_read_schema(name))
    if name == "config":
        variants = schema["$defs"]["model"]["properties"]
        variants["type"]["enum"] = sorted(MODEL_TYPES)
    return schema
