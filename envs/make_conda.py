"""Writes envs/refatlas.yaml and envs/refatlas.post-deploy.sh, which Snakemake runs in the new environment: together
they install the same locks as `make env`. `--check` only compares.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
HEAD = """# Written by envs/make_conda.py from requirements.lock: change the lock (make lock), not this file.
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""
POST_DEPLOY = """#!/usr/bin/env bash
# Written by envs/make_conda.py from mvtcr.lock. pip takes --no-deps here, and not in a conda definition.
set -euo pipefail
cat > "$CONDA_PREFIX/mvtcr.txt" <<'LOCK'
{lock}LOCK
pip install --no-deps --require-hashes -r "$CONDA_PREFIX/mvtcr.txt"
"""


def requirements(lock: str) -> list[str]:
    """Return each requirement of a lock on one line, with its marker and hashes, without comments."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [" ".join(part.split()) for part in "\n".join(lines).replace("\\\n", " ").splitlines()]


def definition() -> str:
    """Return the text of the conda definition."""
    lock = (HERE / "requirements.lock").read_text(encoding="utf-8")
    return HEAD + "".join(f"      - '{line.replace(chr(39), chr(34))}'\n" for line in requirements(lock))


def post_deploy() -> str:
    """Return the text of the script that installs what conda's pip section cannot."""
    return POST_DEPLOY.format(lock=(HERE / "mvtcr.lock").read_text(encoding="utf-8"))


if __name__ == "__main__":
    written = {HERE / "refatlas.yaml": definition(), HERE / "refatlas.post-deploy.sh": post_deploy()}
    for file, text in written.items():
        if "--check" not in sys.argv[1:]:
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.exit(f"{file} does not match the locks; run make lock")
