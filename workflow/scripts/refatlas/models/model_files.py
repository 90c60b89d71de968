"""Models on disk, with their checksum and a description.

Files of scvi-tools are pickles, and loading one may run any code: only files that this workflow
wrote are loaded.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import refatlas
from refatlas.errors import InputError
from refatlas.io.atomic import write_text
from refatlas.io.fingerprints import sha256_of
from refatlas.models.interface import Model, Settings
from refatlas.models.registry import MODEL_TYPES

if TYPE_CHECKING:
    from anndata import AnnData

PACKAGES = ("scvi-tools", "scarches", "torch", "anndata")


def checksum_file(file: str | Path) -> Path:
    """Return the file with a model's checksum, in the format of `sha256sum --check`."""
    return Path(f"{file}.sha256")


def description_file(file: str | Path) -> Path:
    """Return the file that describes a model: its type, settings, and versions."""
    return Path(file).parent / "model.json"


def save_model(model: Model, file: str, settings: Settings) -> None:
    """Write a model to a file, and beside it its checksum and description."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    checksum_file(file).unlink(missing_ok=True)
    model.save(Path(file))
    write_text(f"{sha256_of(file)}  {Path(file).name}\n", str(checksum_file(file)))
    versions = {"refatlas": refatlas.__version__} | {package: version(package) for package in PACKAGES}
    described = {"type": settings["type"], "settings": settings, "versions": versions}
    write_text(json.dumps(described, indent=1) + "\n", str(description_file(file)))


def load_model(kind: str, file: str, counts: "AnnData | None" = None) -> Any:
    """Return the model of a type in a file that `save_model` wrote.

    Args:
        kind: its type.
        file: its model.pt.
        counts: that it was trained on or mapped to; the type linear needs none.

    Raises:
        InputError: the file has changed since it was written, or has no checksum.
    """
    record, found = checksum_file(file), sha256_of(file)
    written = record.read_text(encoding="utf-8", errors="replace").split()[:1] if record.is_file() else []
    if written != [found]:
        raise InputError(
            f"{file}: its sha256 is {found}, but {record.name} has {written[0] if written else 'none'}: it is not"
            f" the file that was written, and loading it may run any code. Restore it, or delete {Path(file).parent}"
            " and run the workflow again, which computes the model again"
        )
    return MODEL_TYPES[kind].load_class().load(Path(file), counts)


def load_trained(folder: str | Path, from_disk: bool = False) -> "tuple[Any, AnnData]":
    """Return a trained model of the results, and the counts that it was trained on or mapped to.

    Args:
        folder: results/reference/models/NAME, results/queries/QUERY/models/NAME, or that of a fold.
        from_disk: leave the counts in their file, for the types scvi, scanvi, drvi, linear and embedding.

    Returns:
        model: a `refatlas.models.interface.Model`, such as `ScVI`. `model.latent(counts)` is its
            latent space; for types of scvi-tools, `model.model` is the model of scvi-tools.
        counts: AnnData, cells × genes.

    Raises:
        InputError: a file is missing, or the model has changed since it was written.

    Examples:
        >>> model, counts = load_trained("results/reference/models/scvi")  # doctest: +SKIP
        >>> latent = model.latent(counts)  # doctest: +SKIP
    """
    from refatlas.io.model_counts import read_counts

    file = Path(folder) / "model.pt"
    described, counts_file = description_file(file), Path(folder).absolute().parents[1] / "counts.h5ad"
    for path in (file, described, counts_file):
        if not path.is_file():
            raise InputError(
                f"{path}: no such file; give the folder of a finished model, such as results/reference/models/scvi, in"
                " the results of one run"
            )
    counts = read_counts(str(counts_file), from_disk)
    kind = json.loads(described.read_text(encoding="utf-8"))["type"]
    return load_model(kind, str(file), counts), counts
