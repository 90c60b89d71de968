#!/usr/bin/env bash
# Written by envs/make_conda.py from mvtcr.lock. pip takes --no-deps here, and not in a conda definition.
set -euo pipefail
cat > "$CONDA_PREFIX/mvtcr.txt" <<'LOCK'
# mvTCR, installed without its dependencies: it pins versions of 2023. What it needs of them is in requirements.in. Made by:
# uv pip compile --no-deps --generate-hashes --no-header --no-annotate --python-version 3.12 - <<< "mvtcr==0.2.1.2"
mvtcr==0.2.1.2 \
    --hash=sha256:1017b09e1b378f534c3126d9ae74baab1a35c50d50d8680148e63f711fdddddc \
    --hash=sha256:79ec7b9488605012fa28a74a90da93113f4bbbcff3c404cd2eae1db11e775f9e
LOCK
pip install --no-deps --require-hashes -r "$CONDA_PREFIX/mvtcr.txt"
