"""The page for users of other tools: its configurations are valid, and its Python gives what those tools give."""

import re

import pandas as pd
import pytest
import yaml

from conftest import REPO
from refatlas.config.settings import complete_config

PAGE = (REPO / "docs/coming-from.md").read_text(encoding="utf-8")
SAVED = ("attr.pkl", "model_params.pt", "var_names.csv")


def blocks(language: str) -> list[str]:
    """Return the page's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", blocks("yaml"))
def test_configurations_are_valid(text, tmp_path):
    for name in SAVED:
        (tmp_path / name).write_text("")
    given = yaml.safe_load(text.replace("/data/expimap_model", str(tmp_path)))
    completed = complete_config({"reference": "reference.tsv", "queries": "queries.tsv", **given})
    assert set(given.get("models", {})) <= set(completed["models"])
    assert set(given.get("external_labels", {})) == set(completed.get("external_labels", {}))


def test_the_settings_of_scarches_tutorial_are_those_of_the_page():
    """500 epochs, of which 200 are warm-up; its early stopping, renamed by the table above the block."""
    (text,) = (block for block in blocks("yaml") if "type: trvae" in block)
    settings = yaml.safe_load(text)["models"]["trvae"]
    assert settings["train"] == settings["surgery"]
    assert settings["train"]["kl_warmup"] * settings["train"]["max_epochs"] == 200
    stopping = {name: settings["train"][name] for name in ("patience", "min_delta", "lr_patience", "lr_factor")}
    assert stopping == {"patience": 20, "min_delta": 0, "lr_patience": 13, "lr_factor": 0.1}


def test_clusters_vote_by_majority(tmp_path, monkeypatch):
    (text,) = (block for block in blocks("python") if "majority_voting" in block)
    folder = tmp_path / "results/queries/my_query"
    folder.mkdir(parents=True)
    cells = pd.Index([f"c{i}" for i in range(5)], name="cell")
    pd.DataFrame({"label": ["A", "A", "B", "B", "B"]}, index=cells).to_csv(folder / "labels.csv")
    pd.DataFrame({"cluster": [1, 1, 1, 2, 2]}, index=cells).to_csv(tmp_path / "clusters.csv")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(text, names)
    assert names["labels"]["majority_voting"].tolist() == ["A", "A", "A", "B", "B"]
