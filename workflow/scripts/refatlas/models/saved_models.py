"""Models saved elsewhere, by scvi-tools or by scArches: what is common to reading both."""

from pathlib import Path
from typing import Any

from refatlas.io.atomic import read_json
from refatlas.models import pretrained, scarches_saved
from refatlas.models.interface import Settings
from refatlas.models.registry import MODEL_TYPES


def read_pretrained(kind: str, files: list[str], sha256: str | None) -> tuple[str, dict[str, Any]]:
    """Return a saved model's name in messages, and what is saved, which the type's `from_pretrained` takes.

    Args:
        kind: type of the model.
        files: of `ModelType.saved_files`.
        sha256: checksum that they must have; None reads them without a check.

    Raises:
        InputError: they are damaged, have another checksum, or are not what is saved for this type.
    """
    if MODEL_TYPES[kind].saved_by == "scvi-tools":
        return files[0], pretrained.read_saved(files[0], sha256)
    return str(Path(files[0]).parent), scarches_saved.read_saved(files, sha256)


def facts_of_usable(kind: str, files: list[str], sha256: str | None) -> dict[str, Any]:
    """Return the facts of a saved model that can serve as a reference model; see `pretrained_facts`.

    Raises:
        InputError: as `read_pretrained`, or the model cannot serve.
    """
    where, saved = read_pretrained(kind, files, sha256)
    known = MODEL_TYPES[kind]
    source = pretrained if known.saved_by == "scvi-tools" else scarches_saved
    source.require_usable(saved, str(known.pretrained), where)
    return source.pretrained_facts(saved)


def with_programs(settings: Settings, facts: str | None) -> Settings:
    """Return a model's settings with the programs of the pretrained model that it stands for in a fold.

    Args:
        settings: of the model.
        facts: its pretrained.json; None leaves the settings as they are.
    """
    if facts is None:
        return settings
    return {**settings, "programs": read_json(facts)["programs"]}
