"""Which jobs that train or apply models need torch, known before any of them runs."""

from collections.abc import Mapping
from typing import Any

from refatlas.models.registry import MODEL_TYPES


def needs_torch(script: str, params: Mapping[str, Any]) -> bool:
    """Return whether a job needs torch; True where its params do not say.

    Args:
        script: its name, one of `refatlas.jobs.fork_client.MODEL_SCRIPTS`.
        params: of the job; for place_query, those of learn_regions, whose methods it applies.
    """
    settings = params.get("settings") or {}
    if script in ("learn_regions", "place_query"):
        return "sagenet" in settings.get("methods", ["sagenet"])
    # Types of torch use a GPU where there is one.
    known = MODEL_TYPES.get(settings.get("type", ""))
    return known is None or known.uses_gpu
