"""Settings of the spatial reference. Light: Snakemake imports it at every start."""

import os
from typing import Any

from refatlas.config.validation import require_plain_path
from refatlas.errors import InputError
from refatlas.io.formats import is_readable_path, require_readable

WHERE = "config: spatial"


def complete_spatial(config: dict[str, Any]) -> None:
    """Check the section `spatial` of a configuration, in place.

    Without a path it is removed: the configuration is a param of rules, which must not run again because there is a new
    key.

    Raises:
        InputError: the file is not there or of a kind without coordinates, or settings contradict each other.
    """
    section = config["spatial"]
    if section["path"] is None:
        del config["spatial"]
        return
    _require_file(section["path"])
    if not section["grids"] and section["region_key"] is None:
        raise InputError(f"{WHERE}: grids is empty and region_key is not set; give a grid such as 2, or a region_key")
    if section["held_out"] == "sections":
        _require_regions_over_sections(section)
    config["spatial"] = {**section, "grids": sorted(section["grids"])}


def _require_file(path: str) -> None:
    where = f"{WHERE}: path"
    require_plain_path(path, where)
    if not is_readable_path(path):
        raise InputError(
            f"{where}: {path!r} does not exist (from {os.getcwd()}); give an absolute path, or one relative to the"
            " working directory"
        )
    require_readable(path, where)


def _require_regions_over_sections(section: dict[str, Any]) -> None:
    """Raise an InputError if whole sections cannot be held out: regions of a grid belong to one section."""
    if section["section_key"] is None:
        raise InputError(f"{WHERE}: held_out: sections needs a section_key; set it, or set held_out to blocks")
    if section["grids"]:
        raise InputError(
            f"{WHERE}: held_out: sections: the regions of a grid belong to one section, and a section that is held out"
            " has none; set grids: [] and a region_key, or set held_out to blocks"
        )
