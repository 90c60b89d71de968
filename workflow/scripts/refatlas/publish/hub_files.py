"""What is sent to the Hugging Face Hub: the bundle, scvi-hub's files of a model, and one model card for both."""

from pathlib import Path
from typing import Any

import yaml

from refatlas.errors import InputError
from refatlas.io.atomic import write_text
from refatlas.publish.bundle_files import CARD, Bundle, SentFile

# What scvi.hub.HubModel loads, beside the model card.
HUB_FILES = ("model.pt", "_scvi_required_metadata.json", "adata.h5ad")
TAGS = ["biology", "genomics", "single-cell", "refatlas"]


def files_for_hub(bundle: Bundle, hub: str | Path | None, card: str | Path) -> list[SentFile]:
    """Return the files that the repository gets.

    Args:
        bundle: to publish.
        hub: folder that `make_hub_model` wrote; None without a model of scvi-tools.
        card: where the common model card is written.
    """
    theirs = None if hub is None else Path(hub) / CARD
    write_text(model_card(bundle, theirs), card)
    files = [SentFile(Path(card), CARD) if file.name == CARD else file for file in bundle.files]
    return files if hub is None else [*files, *(SentFile(Path(hub) / name, name) for name in HUB_FILES)]


def model_card(bundle: Bundle, hub_card: Path | None) -> str:
    """Return the model card: scvi-hub's front matter with the bundle's licence, and the text of both cards.

    Raises:
        InputError: the front matter of a card is not YAML.
    """
    own = next(file.path for file in bundle.files if file.name == CARD)
    front, text = parted(own)
    hub_front, hub_text = parted(hub_card) if hub_card else ({}, "")
    tags = dict.fromkeys([*TAGS, *hub_front.get("tags", []), *front.get("tags", [])])
    front = {**front, **hub_front, "license": bundle.manifest["license"].lower(), "tags": list(tags)}
    texts = "\n\n".join(filter(None, (text.strip(), hub_text.strip())))
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{texts}\n"


def parted(card: Path) -> tuple[dict[str, Any], str]:
    """Return the front matter of a model card, empty without any, and the text after it."""
    text = card.read_text(encoding="utf-8")
    if not text.startswith("---\n") or "\n---\n" not in text:
        return {}, text
    front, rest = text.removeprefix("---\n").split("\n---\n", 1)
    try:
        found = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise InputError(f"{card}: its front matter is not YAML ({error})") from None
    return found if isinstance(found, dict) else {}, rest
