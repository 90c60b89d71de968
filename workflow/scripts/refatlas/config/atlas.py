"""The setting `atlas` of the configuration. Light: Snakemake imports it at every start."""

from typing import Any

from refatlas.errors import InputError, shown


def atlas_setting(atlas: Any) -> dict[str, Any]:
    """Return the setting of the atlas with path and sha256 (None where it is not given).

    Args:
        atlas: of the configuration: a path or a mapping.

    Raises:
        InputError: it is neither.
    """
    found = {"path": atlas} if isinstance(atlas, str) else atlas
    if not isinstance(found, dict) or not isinstance(found.get("path"), str):
        raise InputError(
            f"config: atlas: {shown(repr(atlas))} is not the path of a bundle; give the path of an atlas.tar, or a"
            " mapping with path and sha256"
        )
    return {"sha256": None, **found}
