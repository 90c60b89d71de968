"""The JSON schemas of the configuration and the sheets."""

import copy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from refatlas.models.registry import MODEL_TYPES

SCHEMAS = Path(__file__).parent / "schemas"


@cache
def _read_schema(name: str) -> dict[str, Any]:
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def load_schema(name: str) -> dict[str, Any]:
    """Return a schema: "config", "contrast", "external_labels", "tune", "reference" or "queries".

    That of the config lists the registered model types. Their settings have schemas of their own:
    see `refatlas.models.registry.settings_schema`.
    """
    schema = copy.deepcopy(_read_schema(name))
    if name == "config":
        schema["$defs"]["model"]["properties"]["type"]["enum"] = sorted(MODEL_TYPES)
    return schema
