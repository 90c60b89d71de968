"""Which packages a job uses, of those that its process had loaded before it was forked (refatlas.jobs.fork_server)."""

import builtins
import sys
from collections.abc import Collection
from typing import Any

# They are loaded for jobs with models, and used by a job only if it imports one of them by itself.
_loaded_for_models: frozenset[str] = frozenset()
_imported: set[str] = set()


def record_imports(loaded_for_models: Collection[str]) -> None:
    """Record from now on which packages are imported, loaded or not.

    Args:
        loaded_for_models: names of modules that were loaded for jobs with models.
    """
    global _loaded_for_models
    _loaded_for_models = frozenset(loaded_for_models)
    original = builtins.__import__

    def recording(name: str, *args: Any, **kwargs: Any) -> Any:
        _imported.add(name.partition(".")[0])
        return original(name, *args, **kwargs)

    builtins.__import__ = recording


def is_used(package: str) -> bool:
    """Return whether this process has loaded a package for its own job. What scvi-tools loads is used with it."""
    return package in sys.modules and (package not in _loaded_for_models or bool(_imported & {package, "scvi"}))
