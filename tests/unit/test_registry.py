"""The registry of model types, which Snakemake reads at every start."""

import json
import subprocess
import sys

import pytest

from refatlas.models.registry import MODEL_TYPES, mapping_settings, settings_schema, table_settings


def test_reading_all_settings_imports_no_heavy_package():
    code = (
        "import sys; from refatlas.models.registry import MODEL_TYPES, settings_schema; "
        "[settings_schema(kind) for kind in MODEL_TYPES]; "
        "print([name for name in ('torch', 'scvi', 'scarches', 'lightning', 'anndata') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_mapping_depends_on_type_and_surgery():
    settings = {"type": "scvi", "gpus": 2, "model": {"n_latent": 5}, "train": {}, "surgery": {"lr": 0.1}}
    assert mapping_settings(settings) == {"type": "scvi", "surgery": {"lr": 0.1}}
    assert mapping_settings({"type": "linear", "model": {"C": 1}}) == {"type": "linear"}


def test_tables_depend_on_type_and_outputs():
    assert table_settings({"type": "totalvi", "train": {}, "outputs": {"rna": True}}) == {
        "type": "totalvi",
        "outputs": {"rna": True},
    }
    assert table_settings({"type": "scpoli", "train": {}}) == {"type": "scpoli"}


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_schemas_are_closed_and_have_defaults(kind):
    schema = settings_schema(kind)
    json.dumps(schema)
    assert schema["additionalProperties"] is False
    for section in MODEL_TYPES[kind].settings_schema():
        assert schema["properties"][section]["additionalProperties"] is False
        assert all("default" in setting for setting in schema["properties"][section]["properties"].values())


def test_files_that_settings_name():
    assert MODEL_TYPES["expimap"].files_in({"model": {"gmt": "p.gmt"}}) == {"model.gmt": "p.gmt"}
    assert MODEL_TYPES["expimap"].files_in({"model": {"gmt": None}}) == {}
