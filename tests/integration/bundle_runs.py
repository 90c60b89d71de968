"""Runs that map queries from a bundle in an empty folder, for tests."""

import shutil
from pathlib import Path

import pandas as pd
import yaml

from conftest import snakemake


def write_bundle_run(folder: Path, archive: Path, queries: list[dict], **config) -> None:
    """Write the sheet and configuration of a run with a bundle, which is copied into the folder."""
    folder.mkdir(exist_ok=True)
    shutil.copy(archive, folder / "atlas.tar")
    pd.DataFrame(queries).to_csv(folder / "queries.tsv", sep="\t", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump({"atlas": "atlas.tar", "queries": "queries.tsv", **config}))


def map_from_bundle(folder: Path, archive: Path, queries: list[dict], *targets: str, **config) -> None:
    """Map queries onto a bundle in a new folder."""
    write_bundle_run(folder, archive, queries, **config)
    snakemake(folder, "--cores", "2", "--", *targets)
