"""Writes envs/refatlas.yaml, the conda definition that installs the same lock as `make env`;
`--check` only compares.
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


def requirements(lock: str) -> list[str]:
    """Return each requirement of a lock on one line, with its marker and hashes, without comments."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [" ".join(part.split()) for part in "\n".join(lines).replace("\\\n", " ").splitlines()]


def definition() -> str:
    """Return the text of the conda definition."""
    lock = (HERE / "requirements.lock").read_text(encoding="utf-8")
    return HEAD + "".join(f"      - '{line.replace(chr(39), chr(34))}'\n" for line in requirements(lock))


if __name__ == "__main__":
    file = HERE / "refatlas.yaml"
    if "--check" in sys.argv[1:]:
        sys.exit(
            0
            if file.exists() and file.read_text(encoding="utf-8") == definition()
            else f"{file} does not match requirements.lock; run make lock"
        )
    file.write_text(definition(), encoding="utf-8")
