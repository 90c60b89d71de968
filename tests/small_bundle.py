"""A bundle of a few bytes, as the rule write_bundle makes it."""

import json
import tarfile
from pathlib import Path

MANIFEST = {
    "name": "small_atlas",
    "version": "1.0",
    "refatlas": "0.7.0",
    "title": "A small atlas",
    "description": "Cells & genes.\n\nSecond part.",
    "authors": ["Doe, Jane", {"name": "Roe, Richard", "orcid": "https://orcid.org/0000-0002-1825-0097"}],
    "license": "CC-BY-4.0",
    "citation": "Doe J, A small atlas, 2026. https://doi.org/10.1234/abc.5",
    "models": ["scvi"],
    "files": {},
}
FILES = ("atlas.tar", "bundle.json", "README.md")


def write_small_bundle(folder: Path, size: int = 300_000, **changed: object) -> dict[str, Path]:
    """Write a bundle and return its three files by name; changed keys of the manifest are given by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in FILES}
    paths["bundle.json"].write_text(json.dumps({**MANIFEST, **changed}))
    paths["README.md"].write_text("# A small atlas\n\nWhat it holds.\n")
    (folder / "counts.bin").write_bytes(bytes(i % 251 for i in range(size)))
    with tarfile.open(paths["atlas.tar"], "w") as tar:
        for name in ("bundle.json", "README.md", "counts.bin"):
            tar.add(folder / name, arcname=name)
    (folder / "counts.bin").unlink()
    return paths


def require_hidden(token: str, bundle: dict[str, Path], text: str) -> None:
    """Fail if a token is in a text, or in any file that a job of publishing wrote."""
    files = [path for path in bundle["atlas.tar"].parents[1].rglob("*") if path.is_file()]
    assert len(files) > 3
    assert [path.name for path in files if token.encode() in path.read_bytes()] == []
    assert token not in text
