"""Files of a bundle without the folders of the machine that made them."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from markupsafe import escape

from refatlas.io.atomic import read_json
from refatlas.models.registry import MODEL_TYPES

# The folders of a path from the root on; an address and "CD4/CD8" have none. Paths with blanks are known ones.
ABSOLUTE = re.compile(r"(?<![^\s('\"=])/(?:[^\s/'\"();,]+/)+")
PAGE = "report/reference.html"


def portable_files(files: Mapping[str, "str | Path"]) -> dict[str, Path | bytes]:
    """Return the files of a bundle by name: as they are, but without folders where one names files of this machine.

    These are scan.json of datasets, model.json and training.md of models that were made with a file, and the page of
    the reference, which shows the settings of such models.

    Args:
        files: paths by name.
    """
    settings = {
        str(PurePosixPath(name).parent): read_json(path)["settings"]
        for name, path in files.items()
        if name.endswith("/model.json")
    }
    named = {folder: files_of_settings(found) for folder, found in settings.items()}
    return {name: _portable(name, Path(path), named) for name, path in files.items()}


def files_of_settings(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the paths that a model's settings name, by "section.setting"."""
    known = MODEL_TYPES[settings["type"]]
    names = ["pretrained.path", *known.files]
    found = {name: (settings.get(name.split(".")[0]) or {}).get(name.split(".")[1]) for name in names}
    return {name: path for name, path in found.items() if path}


def _portable(name: str, path: Path, named: Mapping[str, Mapping[str, str]]) -> Path | bytes:
    """Return a file, or its content without folders.

    Args:
        named: of `files_of_settings`, by folder of the model.
    """
    file, known = PurePosixPath(name).name, _longest(named.get(str(PurePosixPath(name).parent), {}).values())
    if file == "scan.json":
        return without_folders(read_json(path))
    if file == "model.json":
        found = read_json(path)
        kept = _without_paths(found, known)
        return path if kept == found else (json.dumps(kept, indent=1) + "\n").encode()
    if file == "training.md":
        text = path.read_text(encoding="utf-8")
        kept = _without_paths(text, known)
        return path if kept == text else kept.encode()
    shown = {pair for settings in named.values() for pair in settings.items()}
    return _portable_page(path, shown) if name == PAGE and shown else path


def _portable_page(path: Path, shown: Iterable[tuple[str, str]]) -> bytes:
    """Return the page of the reference with names of files in place of the paths in settings.

    Args:
        shown: settings and their paths, as the page has them in the choice of a model.
    """
    text = path.read_text(encoding="utf-8")
    for setting, file in shown:
        text = text.replace(f"{setting} = {escape(file)}", f"{setting} = {escape(Path(file).name)}")
    return text.encode()


def without_folders(scan: Mapping[str, Any]) -> bytes:
    """Return scan.json without the folders of the user's files, in whatever it says of them."""
    known = _longest([scan["path"], *scan["files"], *scan["checksums"]])
    kept = {key: _without_paths(value, known) for key, value in scan.items()}
    for key in ("files", "checksums"):
        kept[key] = {Path(path).name: value for path, value in scan[key].items()}
    return (json.dumps(kept, indent=2, ensure_ascii=False) + "\n").encode()


def _longest(paths: Iterable[str]) -> list[str]:
    """Return paths, the longest first: one may begin with another."""
    return sorted(paths, key=len, reverse=True)


def _without_paths(value: Any, known: list[str]) -> Any:
    """Return a nested value with names of files in place of known paths, and of any absolute one."""
    if isinstance(value, dict):
        return {key: _without_paths(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_paths(inner, known) for inner in value]
    if not isinstance(value, str):
        return value
    for path in known:
        value = value.replace(path, Path(path).name)
    return ABSOLUTE.sub("", value)
