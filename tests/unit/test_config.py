"""Every mistake in the configuration and in the sheets is named, with what was found and the remedy."""

import os

import pytest

from refatlas.config.schema_files import load_schema
from refatlas.config.settings import check_writable, complete_config
from refatlas.config.sheets import load_sheets
from refatlas.errors import InputError
from refatlas.models.registry import MODEL_TYPES, settings_schema

BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"refrence": "x"}, r"unknown key 'refrence' \(did you mean 'reference'\?\)"),
        ({"genes": {"n_tops": 5}}, r"config: genes: unknown key 'n_tops' \(did you mean 'n_top'\?\)"),
        ({"genes": {"n_top": "many"}}, r"config: genes: n_top: 'many' has the wrong type; expected integer"),
        ({"genes": {"n_top": 3}}, r"config: genes: n_top: 3 is less than the minimum of 10"),
        ({"query": {"min_gene_overlap": 1.5}}, r"1.5 is greater than the maximum of 1"),
        ({"models": {"m": {"type": "scvvi"}}}, r"'scvvi' is not one of .* \(did you mean 'scvi'\?\)"),
        ({"models": {"m": {}}}, r"config: models: m: 'type' is a required property"),
        (
            {"models": {"m": {"type": "scvi", "train": {"epochs": 3}}}},
            r"config: models: m: train: unknown key 'epochs'.*known keys: max_epochs",
        ),
        ({"models": {"m": {"type": "scvi", "train": {"max_epochs": 0}}}}, r"0 is less than the minimum of 1"),
        ({"models": {"a/b": {"type": "scvi"}}}, r"name 'a/b' is not allowed"),
        (
            {"models": {"m": {"type": "scanvi", "init_from": "gone"}}},
            r"init_from: 'gone' is not in models; name a model of type scvi \(there are: none\)",
        ),
        ({"models": {"set": {"type": "scvi"}}}, r"name 'set' is reserved; rename the model"),
        (
            {"models": {"a": {"type": "scanvi", "init_from": "b"}, "b": {"type": "linear"}}},
            r"init_from: 'b' is of type linear; name a model of type scvi \(there are: none\)",
        ),
        ({"models": {"linear": {"type": "scvi"}}}, r"'linear' is the baseline's name"),
        ({"deliver": {"model": "gone"}}, r"deliver: model 'gone' is not in models; name one of scvi, scanvi, linear"),
        ({"deliver": {"model": "scvi", "source": "classifier"}}, r"type scvi has no classifier"),
        ({"seed": -1}, r"seed: -1 is less"),
    ],
)
def test_mistakes_in_the_configuration(change, said):
    with pytest.raises(InputError, match=said):
        complete_config({**BASE, **change})


def test_a_missing_sheet_key():
    with pytest.raises(InputError, match="reference or atlas: neither is set"):
        complete_config({"queries": "queries.tsv"})


def test_queries_are_not_required():
    assert complete_config({"reference": "reference.tsv"})["queries"] is None


def test_defaults_are_complete_and_the_baseline_is_always_there():
    config = complete_config(BASE)
    assert list(config["models"]) == ["scvi", "scanvi", "linear"]
    assert config["models"]["scanvi"]["init_from"] == "scvi"
    assert config["deliver"] == {"source": "all", "model": "scanvi", "alpha": 0.1, "novel": 0.9, "min_confidence": 0.5}


def sheets(folder, reference="", queries=""):
    """Write two sheets; empty text means a good one."""
    for name in ("a.h5ad", "q.h5ad"):
        (folder / name).write_text("")
    (folder / "reference.tsv").write_text(reference or "dataset\tpath\na\ta.h5ad\n")
    (folder / "queries.tsv").write_text(queries or "query\tpath\nq\tq.h5ad\n")
    os.chdir(folder)
    return load_sheets(complete_config(BASE))


@pytest.fixture(autouse=True)
def _stay_here():
    here = os.getcwd()
    yield
    os.chdir(here)


@pytest.mark.parametrize(
    ("reference", "queries", "said"),
    [
        ("dataset\tpath\n", "", "the sheet has no rows"),
        ("dataset\tpath\na\ta.h5ad\na\tq.h5ad\n", "", r"reference.tsv, line 3: dataset 'a' is in the sheet twice"),
        ("", "query\tpath\nq\tq.h5ad\nq\tq.h5ad\n", r"queries.tsv, line 3: query 'q' is in the sheet twice"),
        ("dataset\tpath\na/b\ta.h5ad\n", "", "dataset 'a/b' is not allowed"),
        ("dataset\tpath\na b\ta.h5ad\n", "", "dataset 'a b' is not allowed"),
        ("dataset\tpath\n..\ta.h5ad\n", "", "dataset '..' is not allowed"),
        ("dataset\tpath\tbatchkey\na\ta.h5ad\tx\n", "", r"unknown column 'batchkey' \(did you mean 'batch_key'\?\)"),
        ("dataset\na\n", "", "column 'path' is missing; the sheet has dataset"),
        ("dataset,path\na,a.h5ad\n", "", "unknown column 'dataset,path'"),
        ("dataset\tpath\na\tgone.h5ad\n", "", r"dataset 'a': path 'gone.h5ad' does not exist"),
        ("dataset\tpath\tmetadata\na\ta.h5ad\tgone.csv\n", "", r"metadata 'gone.csv' does not exist"),
        ("", "query\tpath\na\tq.h5ad\n", "query 'a' has the name of a dataset"),
        ("", "query\tpath\ncounts\tq.h5ad\n", r"query 'counts' would have two files counts.h5ad in its folder; rename"),
        ("dataset\tpath\tlabel_key\na\ta.h5ad\tx,y\nb\ta.h5ad\tx\n", "", "different numbers of label columns"),
        ("", "query\tpath\tcontrol\nq\tq.h5ad\thealthy\n", "control 'healthy' is not of the form COLUMN=VALUE"),
    ],
)
def test_mistakes_in_the_sheets(tmp_path, reference, queries, said):
    with pytest.raises(InputError, match=said):
        sheets(tmp_path, reference, queries)


def test_a_pretrained_model_needs_its_file_and_trust(tmp_path):
    def config(**made):
        return complete_config(
            {**BASE, "models": {"m": {"type": "scvi", "pretrained": {"path": str(tmp_path), **made}}}}
        )

    with pytest.raises(InputError, match=r"models: m: pretrained: .*model.pt' does not exist"):
        config()
    (tmp_path / "model.pt").write_text("")
    with pytest.raises(InputError, match=r"can run any code that it contains: give the SHA-256"):
        config()
    with pytest.raises(InputError, match=r"pretrained: sha256"):
        config(sha256="abc")
    assert config(trust=True)["models"]["m"]["pretrained"]["sha256"] is None
    with pytest.raises(InputError, match=r"unknown key 'pretrained'"):
        complete_config({**BASE, "models": {"linear": {"type": "linear", "pretrained": {"path": str(tmp_path)}}}})


def test_a_model_of_scarches_needs_its_files_and_a_checksum(tmp_path):
    def config(kind="trvae", **made):
        sections = {"model": made.pop("model")} if "model" in made else {}
        return complete_config(
            {**BASE, "models": {"m": {"type": kind, "pretrained": {"path": str(tmp_path), **made}, **sections}}}
        )

    with pytest.raises(InputError, match=r"pretrained: .* has no attr.pkl, .*var_names.csv .* scArches' save"):
        config()
    (tmp_path / "model.pt").write_text("")
    with pytest.raises(InputError, match=r"saved by scvi-tools, as its classes in scArches do: use type scvi"):
        config()
    (tmp_path / "model.pt").unlink()
    for name in ("attr.pkl", "model_params.pt", "var_names.csv"):
        (tmp_path / name).write_text("")
    with pytest.raises(InputError, match=r"saved by scArches \(types trvae, scpoli and expimap\), or by scvi-tools"):
        config("scvi", trust=True)
    with pytest.raises(InputError, match=r"attr.pkl model_params.pt var_names.csv \| sha256sum`, or set trust: true"):
        config()
    with pytest.raises(InputError, match=r"pretrained: unknown key 'hub'"):
        config(trust=True, hub="owner/name", revision="main")
    (tmp_path / "p.gmt").write_text("A\tlink\tCD3D\n")
    with pytest.raises(InputError, match=r"the model has its own programs, and model: gmt is"):
        config("expimap", trust=True, model={"gmt": str(tmp_path / "p.gmt")})
    found = config("scpoli", sha256="0" * 64)["models"]["m"]["pretrained"]
    assert found == {"path": str(tmp_path), "sha256": "0" * 64, "trust": False}


@pytest.mark.parametrize("kind", ["trvae", "scpoli", "expimap"])
def test_what_is_not_set_changes_no_setting_after_an_upgrade(kind):
    assert "pretrained" not in complete_config({**BASE, "models": {"m": {"type": kind}}})["models"]["m"]


@pytest.mark.parametrize("names", [("m", "m_tree"), ("linear_classifier",)])
def test_names_of_models_that_would_share_columns(names):
    with pytest.raises(InputError, match=r"would have the names of those of model"):
        complete_config({**BASE, "models": {name: {"type": "scvi"} for name in names}})


@pytest.mark.parametrize("names", [("umap",), ("scvi", "umap_scvi"), ("umap_linear",)])
def test_names_of_models_that_would_share_places(names):
    with pytest.raises(InputError, match=r"would have the name of a UMAP in h5ad files, X_umap.*; rename the model"):
        complete_config({**BASE, "models": {name: {"type": "scvi"} for name in names}})


def test_what_h5ad_files_hold_is_checked():
    assert complete_config(BASE)["export"] == {"genes": "selected", "keep_columns": "all"}
    for keep in ("none", ["age"], []):
        assert complete_config({**BASE, "export": {"keep_columns": keep}})["export"]["keep_columns"] == keep
    for wrong in ({"keep_columns": "some"}, {"genes": "every"}, {"gene": "all"}, {"keep_columns": [1]}):
        with pytest.raises(InputError, match="config: export"):
            complete_config({**BASE, "export": wrong})


def test_several_gpus_where_they_can_be_used():
    def config(from_disk="auto", **model):
        return complete_config(
            {**BASE, "models": {"m": {"type": "scvi", "gpus": 2, **model}}, "memory": {"from_disk": from_disk}}
        )

    assert config()["models"]["m"]["gpus"] == 2
    for model, said in (
        (
            {"type": "scanvi"},
            "type scanvi trains on one GPU; several GPUs can be used by type scvi; .*type scvi that init_from names",
        ),
        ({"type": "trvae"}, "type trvae trains on one GPU"),
        ({"gpus": 0}, "gpus: .*0"),
        ({"from_disk": "always"}, "needs the counts in memory, and memory: from_disk is always"),
    ):
        with pytest.raises(InputError, match=said):
            config(**model)


def test_nested_values_of_the_command_line_are_numbers_again():
    config = complete_config(
        {
            **BASE,
            "evaluation": {"folds": "0"},
            "deliver": {"alpha": "0.2"},
            "genes": {"n_top": "500", "exclude": "[MT-.*]"},
        }
    )
    assert (
        config["evaluation"]["folds"],
        config["deliver"]["alpha"],
        config["genes"]["n_top"],
        config["genes"]["exclude"],
    ) == (0, 0.2, 500, ["MT-.*"])
    assert complete_config({**BASE, "batch_key": "1"})["batch_key"] == "1"


def test_a_missing_sheet(tmp_path):
    os.chdir(tmp_path)
    with pytest.raises(InputError, match=r"reference: 'reference.tsv' does not exist"):
        load_sheets(complete_config(BASE))


def test_rows_override_the_configuration_and_queries_have_no_default_label(tmp_path):
    datasets, queries = sheets(
        tmp_path, "dataset\tpath\tlayer\tbatch_key\tlabel_key\na\ta.h5ad\traw\tdonor\tfine, coarse\n"
    )
    assert datasets["a"]["layer"] == "raw"
    assert datasets["a"]["label_keys"] == ["fine", "coarse"]
    assert (datasets["a"]["batch_key"], datasets["a"]["batch_is_default"]) == ("donor", False)
    assert (queries["q"]["batch_key"], queries["q"]["batch_is_default"], queries["q"]["label_keys"]) == (
        "batch",
        True,
        [],
    )


def test_datasets_of_an_atlas_may_have_different_numbers_of_label_columns(tmp_path):
    """A query with the finest labels alone may have joined it."""
    sheets(tmp_path)
    atlas = {"a": ["fine", "coarse"], "q1": ["cell_type"], "u": []}
    rows = {name: {"label_keys": keys, "protein_key": None} for name, keys in atlas.items()}
    config = complete_config({"atlas": "atlas.tar", "queries": "queries.tsv"})
    assert list(load_sheets(config, datasets=rows)[0]) == ["a", "q1", "u"]
    with pytest.raises(InputError, match="datasets have different numbers of label columns"):
        load_sheets(complete_config(BASE), datasets=rows)


def test_results_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        check_writable(str(tmp_path / "file" / "results"))
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(InputError, match="no permission to write"):
            check_writable(str(tmp_path / "closed" / "results"))


@pytest.mark.parametrize("name", ["heldout", "fold_1", "scvi", "transfer.csv", "reference"])
def test_queries_and_models_may_have_names_of_folds_and_files(tmp_path, name):
    assert list(sheets(tmp_path, queries=f"query\tpath\n{name}\tq.h5ad\n")[1]) == [name]
    assert name in complete_config({**BASE, "models": {name: {"type": "scvi"}}})["models"]


def test_files_that_rules_write_need_not_exist(tmp_path):
    sheet = "dataset\tpath\tmetadata\na\tdata/matrix\tdata/cells.csv\nb\tdata/matrix/\t\n"
    produced = ("data/matrix/matrix.mtx.gz", "data/cells.csv")
    sheets(tmp_path)
    (tmp_path / "reference.tsv").write_text(sheet)
    config = complete_config(BASE)
    assert list(load_sheets(config, produced)[0]) == ["a", "b"]
    with pytest.raises(InputError, match=r"path 'data/matrix' does not exist"):
        load_sheets(config)
    with pytest.raises(InputError, match=r"metadata 'data/cells.csv' does not exist"):
        load_sheets(config, produced[:1])


def test_every_setting_has_a_description():
    def undescribed(schema, where):
        for key, part in schema.get("properties", {}).items():
            if key != "type" and not part.get("properties") and len(part.get("description", "").split()) < 2:
                yield f"{where}{key}"
            yield from undescribed(part, f"{where}{key}.")

    schemas = {name: load_schema(name) for name in ("config", "reference", "queries")}
    missing = [key for name, schema in schemas.items() for key in undescribed(schema, f"{name}: ")]
    missing += [key for kind in MODEL_TYPES for key in undescribed(settings_schema(kind), f"{kind}: ")]
    assert not missing
