# make env: the locked environment in .venv.   make demo: run the shipped configuration.   make test: all tests.
# make demo_from_scratch: an atlas without labels, its annotation, and then a query.
UV_VERSION := 0.13.8
UV := .tools/bin/uv
# Without --quiet, which would hide warnings from --strict.
MKDOCS := NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --site-dir .site

.PHONY: env demo demo_from_scratch test check docs format lock golden clean

env: .venv/.synced

.venv/.synced: envs/requirements.lock envs/mvtcr.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python 3.12 .venv
	$(UV) pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode envs/requirements.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --require-hashes --requirement envs/mvtcr.lock
	$(UV) pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .
	touch $@

$(UV):
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet uv==$(UV_VERSION)

demo: env
	.venv/bin/snakemake

# A person would look at the markers and correct the names between the two runs. What was corrected stays.
demo_from_scratch: env
	.venv/bin/snakemake --configfile config/from_scratch/1_clusters.yaml
	test -e from_scratch/annotation.tsv || .venv/bin/python -m refatlas.annotate.accept from_scratch/results/reference/models/scvi/annotation/0.5.tsv from_scratch/annotation.tsv
	.venv/bin/snakemake --configfile config/from_scratch/2_labels.yaml

test: env check
	.venv/bin/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

# Lint, format, types, documentation: without changing anything.
check: env
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	.venv/bin/snakemake --lint
	.venv/bin/python envs/make_conda.py --check
	.venv/bin/python docs/generate_reference.py --check
	@$(MKDOCS) > .site.log 2>&1 || { cat .site.log; exit 1; }

docs: env
	.venv/bin/python docs/generate_reference.py
	$(MKDOCS)

format: env
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/snakefmt Snakefile workflow/Snakefile workflow/rules

# New versions of everything that envs/requirements.in leaves open.
lock: $(UV)
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate --python-version 3.12 envs/requirements.in -o envs/requirements.lock
	python3 envs/make_conda.py

# What a run in this folder has written.
clean:
	rm -rf results demo from_scratch logs benchmarks .snakemake .site .site.log

# Record the results of rules whose revision was raised (workflow/scripts/refatlas/revisions.py).
golden: env
	REFATLAS_RECORD_GOLDEN=1 .venv/bin/pytest tests/integration/test_golden.py
