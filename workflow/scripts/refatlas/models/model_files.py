"""Models on disk with their checksum: scvi-tools' files are pickles, and loading one may run any
code, so that only what this workflow wrote is loaded.
"""

from pathlib import Path

from refatlas.errors import InputError
from refatlas.io.atomic import write_text
from refatlas.io.fingerprints import sha256_of
from refatlas.models.registry import MODEL_TYPES


def checksum_file(file: str | Path) -> Path:
    """Return where the checksum of a model's file stands, in the form that `sha256sum --check`
    reads.
    """
    return Path(f"{file}.sha256")


def save_model(model, file: str) -> None:
    """Write a model to a file, and then its checksum beside it."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    checksum_file(file).unlink(missing_ok=True)
    model.save(Path(file))
    write_text(f"{sha256_of(file)}  {Path(file).name}\n", str(checksum_file(file)))


def load_model(kind: str, file: str, counts=None):
    """Return the model of a type in a file that `save_model` wrote; `counts` are those that it was
    trained on or mapped to.

    Raises:
        InputError: the file is not as it was written, or has no checksum.
    """
    record, found = checksum_file(file), sha256_of(file)
    written = record.read_text(encoding="utf-8", errors="replace").split()[:1] if record.is_file() else []
    if written != [found]:
        raise InputError(
            f"{file}: its sha256 is {found}, but {record.name} says {written[0] if written else 'nothing'}: it is not"
            f" the file that was written, and loading it may run any code. Restore it, or delete {Path(file).parent}"
            " and run again, which makes the model anew"
        )
    return MODEL_TYPES[kind].load_class().load(Path(file), counts)
