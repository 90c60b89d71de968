"""The comparison of models: shared clusters, lost labels, agreement of batches, settings, order and remarks."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from conftest import REPO, NamedPaths
from refatlas.errors import InputError
from refatlas.evaluate.cluster_overlap import batch_agreement, jaccard, match_clusters, match_labels, read_clusters
from refatlas.evaluate.model_choice import (
    COLUMNS,
    ModelResults,
    compare_models,
    default_settings,
    describe_training,
    held_out_scores,
)
from refatlas.evaluate.model_remarks import mean_ranks
from refatlas.evaluate.transfer_summary import MEANS
from refatlas.io.atomic import read_csv, write_json
from refatlas.report.model_choice_figure import plot_model_choice

CELLS = pd.Index([f"d:c{i}" for i in range(8)], name="cell")
LABELS = pd.Series(["T", "T", "T", None, "B", "B", "N", None], index=CELLS)


@pytest.fixture
def clusters():
    """Model a separates {0-3}, {4, 5} and {6, 7}; model b joins the first two at its finest resolution."""
    return {
        "a": pd.DataFrame({"1": [0, 0, 0, 0, 1, 1, 2, 2]}, index=CELLS, dtype=np.int32),
        "b": pd.DataFrame({"0.5": [0] * 8, "1": [0] * 6 + [1] * 2}, index=CELLS, dtype=np.int32),
    }


def test_jaccard_is_shared_cells_over_cells_in_either():
    found = jaccard(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert found == pytest.approx(np.array([[2 / 3, 1 / 4], [0, 1 / 2]]))


def test_each_cluster_has_its_most_similar_one_of_any_resolution(clusters):
    table = match_clusters(clusters, {"a": "1", "b": "0.5"}, LABELS)
    of_a, of_b = table[table["model"] == "a"], table[table["model"] == "b"]
    assert of_a["n_cells"].tolist() == [4, 2, 2]
    assert of_a["best_match_jaccard"].tolist() == pytest.approx([4 / 6, 2 / 6, 1])
    assert of_a["best_match_resolution"].tolist() == ["1", "1", "1"]
    assert of_a["best_match_cluster"].tolist() == [0, 0, 1]
    assert of_a["only_in_model"].tolist() == [False, True, False]
    # Half of the cells of both together is enough.
    assert of_b["best_match_jaccard"].tolist() == [0.5]
    assert of_b["only_in_model"].tolist() == [False]
    assert of_a["label"].tolist() == ["T", "B", "N"]
    assert of_b["label_share"].tolist() == [0.5]


def test_a_cluster_without_labelled_cells_has_no_label(clusters):
    labels = LABELS.where(LABELS != "N")
    table = match_clusters(clusters, {"a": "1"}, labels)
    assert table["label"].tolist() == ["T", "B", ""]
    assert table["label_share"].tolist() == pytest.approx([1, 1, np.nan], nan_ok=True)
    assert set(match_clusters(clusters, {"a": "1"}, None)["label"]) == {""}


def test_a_single_model_has_nothing_to_compare_with(clusters):
    table = match_clusters({"a": clusters["a"]}, {"a": "1"}, None)
    assert table["best_match_jaccard"].isna().all()
    assert not table["only_in_model"].any()


def test_labels_have_the_best_f1_of_any_cluster(clusters):
    found = match_labels(clusters, LABELS).set_index(["label", "model"])
    assert found.loc[("T", "a"), "best_f1"] == 1
    assert found.loc[("T", "b"), "best_f1"] == pytest.approx(2 * 3 / (3 + 5))
    assert found.loc[("B", "b"), "best_f1"] == pytest.approx(2 * 2 / (2 + 5))
    assert found.loc[("B", "b"), "resolution"] == "1"
    assert found.loc[("N", "b"), "cluster"] == 1
    assert found["n_cells"].groupby("label").first().to_dict() == {"B": 2, "N": 1, "T": 3}
    assert not found["lost"].any()


def test_a_label_is_lost_where_another_model_finds_it(clusters):
    coarse = {"a": clusters["a"], "b": clusters["b"][["0.5"]]}
    found = match_labels(coarse, LABELS)
    # N: 2 / (1 + 6) in b; B: 4 / (2 + 6) is not below 0.5.
    assert found.loc[found["lost"], ["label", "model"]].to_numpy().tolist() == [["N", "b"]]
    # A label that no model finds is lost by none.
    assert not match_labels({"b": coarse["b"], "c": coarse["b"]}, LABELS)["lost"].any()
    assert match_labels(coarse, None).empty
    assert match_labels(coarse, LABELS.where(LABELS == "")).empty


def test_batches_agree_by_their_shares_of_clusters():
    batches = pd.Series(["d1:x"] * 2 + ["d1:y"] * 4 + ["d2:x"] * 2)
    assert batch_agreement(np.array([0, 0, 0, 0, 0, 0, 1, 1]), batches) == (1, 0)
    # Shares (1, 0) and (1/2, 1/2): the divergence is 0.311 bits.
    within, _ = batch_agreement(np.array([0, 0, 0, 0, 1, 1, 1, 1]), batches)
    assert within == pytest.approx(1 - 0.311278**0.5, abs=1e-5)


def test_replicates_can_be_named_with_and_without_their_dataset():
    batches, codes = pd.Series(["d1:x", "d1:y", "d2:x", "d2:z"]), np.array([0, 1, 0, 1])
    assert batch_agreement(codes, batches) == batch_agreement(codes, batches, []) == (0, 0.5)
    assert batch_agreement(codes, batches, [["d1:x", "d2:x"], ["y", "z"]]) == (1, 0)
    # A batch of no group should be like none.
    assert batch_agreement(codes, batches, [["y", "z"]]) == (1, pytest.approx(0.2))


def test_one_batch_and_one_dataset_have_no_pairs():
    assert np.isnan(batch_agreement(np.array([0, 1]), pd.Series(["d:x", "d:x"]))).all()
    assert np.isnan(batch_agreement(np.array([0, 1]), pd.Series(["d:x", "d:y"]))).tolist() == [False, True]


@pytest.mark.parametrize(
    ("replicates", "message"),
    [
        ([["d1:x", "w"]], r"replicates: 'w' is no batch; name each batch once.*d1:x, d1:y, d2:x"),
        ([["x", "y"]], "'x' is batches of several datasets"),
        ([["d1:x", "y"], ["d1:x", "d2:x"]], "'d1:x' is named twice"),
    ],
)
def test_wrong_replicates_are_refused(replicates, message):
    with pytest.raises(InputError, match=message):
        batch_agreement(np.array([0, 0, 1]), pd.Series(["d1:x", "d1:y", "d2:x"]), replicates)


def test_clusters_of_models_are_brought_into_one_order(clusters, tmp_path):
    paths = {name: str(tmp_path / f"{name}.parquet") for name in clusters}
    clusters["a"].to_parquet(paths["a"])
    clusters["b"].iloc[::-1].to_parquet(paths["b"])
    found = read_clusters(paths)
    pd.testing.assert_frame_equal(found["b"], clusters["b"])
    clusters["b"].iloc[1:].to_parquet(paths["b"])
    with pytest.raises(ValueError, match="are not those of the clusters of model a"):
        read_clusters(paths)


def result(settings: dict, seconds: float = 1.0, epochs: int = 0, resolution: float = 1.0, stability: float = 0.5):
    """Return what is recorded of a model."""
    stable = {"n_clusters": 2, "stability": stability, "stability_low": stability - 0.1, "stability_high": 1.0}
    rows = [{"resolution": 9.0, **stable, "suggested": False}, {"resolution": resolution, **stable, "suggested": True}]
    history = pd.DataFrame({"stage": ["train"] * epochs, "epoch": range(epochs)})
    record = {"seconds": seconds, "peak_mb": 100, "device": "cpu"}
    return ModelResults(settings, record, history, pd.DataFrame(rows))


def scvi(**model) -> dict:
    return {"type": "scvi", "pretrained": None, "model": model}


def test_settings_are_those_that_differ_from_defaults_or_between_models_of_the_type():
    default = default_settings("scvi")["model.n_latent"]
    models = {
        "linear": result({"type": "linear", "model": {"n_latent": 30}}),
        "default": result(scvi(n_latent=default, dropout_rate=0.1)),
        "other": result(scvi(n_latent=5, dropout_rate=0.1), epochs=7),
        "scanvi": result({"type": "scanvi", "init_from": "other", "model": {"n_latent": 5}}),
    }
    found = {name: describe_training(name, models)["settings"] for name in models}
    assert found == {
        "linear": "",
        "default": f"model.n_latent = {default}",
        "other": "model.n_latent = 5",
        "scanvi": "init_from = other, model.n_latent = 5",
    }
    row = describe_training("other", models)
    assert (row["epochs"], row["train_seconds"], row["train_peak_mb"], row["device"]) == (7, 1.0, 100, "cpu")


def test_a_model_without_a_record_has_no_time():
    row = describe_training("a", {"a": ModelResults(scvi(), {}, pd.DataFrame())})
    assert np.isnan(row["train_seconds"])
    assert row["device"] == ""


def transfer_rows(**scores: float) -> pd.DataFrame:
    """Return rows of transfer.csv, one per "model_source"."""
    rows = [
        {"split": "folds", "level": 1, "model": name.split("_")[0], "source": name.split("_")[1], "macro_f1": value}
        for name, value in scores.items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(
        macro_f1_low=table["macro_f1"] - 0.05, macro_f1_high=table["macro_f1"] + 0.05, accuracy=table["macro_f1"] + 0.01
    )


def held_out_rows(**scores: float) -> pd.DataFrame:
    """Return scores.csv of a fold: kNN of each model, for two batches and for all cells."""
    rows = [
        {"split": "fold_1", "query": "heldout", "model": model, "source": "knn", "level": 1, "batch": batch}
        | dict.fromkeys(MEANS, value)
        for model, value in scores.items()
        for batch in ("all", "d:x", "d:y")
    ]
    return pd.DataFrame(rows).assign(n_cells=4, n_seen=4)


def test_held_out_scores_are_those_of_the_best_source_over_all_folds():
    table = transfer_rows(a_knn=0.7, a_logistic=0.8, a_distance=np.nan, b_knn=0.9)
    table = pd.concat([table, table.assign(split="fold_1", macro_f1=1.0), table.assign(level=2, macro_f1=1.0)])
    table = table.reset_index(drop=True)
    assert held_out_scores(table, "a") == {
        "held_out_source": "logistic",
        "macro_f1": 0.8,
        "macro_f1_low": pytest.approx(0.75),
        "macro_f1_high": pytest.approx(0.85),
        "accuracy": pytest.approx(0.81),
    }
    assert held_out_scores(table, "c") == held_out_scores(None, "a") == held_out_scores(table.iloc[:0], "a") == {}


def integration_rows(**models: dict) -> pd.DataFrame:
    rows = [(model, metric, value) for model, scores in models.items() for metric, value in scores.items()]
    return pd.DataFrame(rows, columns=["model", "metric", "value"])


@pytest.fixture
def compared(clusters):
    """The comparison of models a and b, and of the baseline, which has the clusters of b."""
    models = {
        "linear": result({"type": "linear"}, seconds=0.1, resolution=0.5, stability=0.6),
        "a": result(scvi(n_latent=5), seconds=10, stability=0.95),
        "b": result(scvi(n_latent=6), seconds=20, resolution=0.5, stability=0.7),
    }
    clusters = {"linear": clusters["b"][["0.5"]], "a": clusters["a"], "b": clusters["b"]}
    cells = pd.DataFrame({"batch": ["d:x", "d:y"] * 4, "label": LABELS}, index=CELLS)
    scores = {
        name: {"bio": total, "batch": total, "total": total, "ilisi": 0.1, "pcr_comparison": 0.2, "kbet": 0.3}
        for name, total in (("linear", 0.2), ("a", 0.7), ("b", 0.6))
    }
    transfer = transfer_rows(linear_knn=0.5, a_knn=0.88, b_knn=0.9)
    return compare_models(models, clusters, cells, integration_rows(**scores), transfer)


def test_models_are_ordered_by_their_mean_rank(compared):
    table = compared["models"]
    assert list(table) == COLUMNS
    assert table["model"].tolist() == ["a", "b", "linear"]
    assert table["mean_rank"].tolist() == pytest.approx([4 / 3, 5 / 3, 3])
    assert table["resolution"].tolist() == [1, 0.5, 0.5]
    assert table["batch_agreement"].tolist() == [1, 1, 1]


def test_remarks_say_what_is_best_and_what_is_lost(compared):
    table = compared["models"].set_index("model")
    assert table.loc["a", "remarks"] == (
        "best integration score; best batch mixing; most stable clusters (not clearly: linear, b); fastest; 1 cluster"
        " (2 cells) in no other model"
    )
    assert table.loc["b", "remarks"] == "best held-out labels (not clearly: a)"
    assert table.loc["linear", "remarks"] == "loses N; PCA without integration"
    assert table.loc["a", "only_clusters"] == "1: 2 cells, B"
    assert table.loc["linear", "lost_labels"] == "N"


def test_the_time_of_a_model_includes_that_of_the_one_it_starts_from(clusters):
    scanvi = {"type": "scanvi", "init_from": "b"}
    models = {
        "a": result(scvi(), 10),
        "b": result(scvi(), 9),
        "c": result(scanvi, 2),
        "d": result(scvi() | {"pretrained": {"path": "x"}}, 1),
    }
    cells = pd.DataFrame({"batch": "d:x"}, index=CELLS)
    table = compare_models(models, {}, cells, integration_rows(a={"total": 1.0}))["models"].set_index("model")
    assert table["remarks"].to_dict() == {
        "a": "",
        "b": "fastest",
        "c": "starts from b, whose time and epochs are not counted here",
        "d": "trained elsewhere",
    }
    # Scores that some lack count for none.
    assert table["mean_rank"].isna().all()
    assert list(table.index) == ["a", "b", "c", "d"]


def test_without_labels_models_are_ordered_by_mixing_and_stability():
    table = pd.DataFrame(
        {
            "macro_f1": np.nan,
            "total": np.nan,
            "batch": np.nan,
            "ilisi": [0.1, 0.2, 0.3],
            "pcr_comparison": [1.0, 0.2, 0.1],
            "kbet": [0.1, 0.2, 0.3],
            "stability": [0.9, 0.8, 0.7],
        }
    )
    # Ranks by mixing: 3, 2, 1, because one metric does not outweigh two; by stability 1, 2, 3.
    assert mean_ranks(table).tolist() == [2, 2, 2]
    assert mean_ranks(table.assign(stability=np.nan)).tolist() == [3, 2, 1]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("compare_models", REPO / "workflow/scripts/compare_models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["all", "no labels, no folds, no record", "no clusters"])
def test_the_script_writes_tables_and_a_figure(script, clusters, tmp_path, kind):
    files, settings = {}, {"a": scvi(n_latent=5), "b": scvi(n_latent=6)}
    for name, table in clusters.items():
        found = result(settings[name], epochs=2)
        if kind != "no clusters":
            table.to_parquet(tmp_path / f"{name}.parquet")
            found.stability.to_csv(tmp_path / f"{name}_stability.csv", index=False)
            files[f"clusters:{name}"], files[f"stability:{name}"] = f"{name}.parquet", f"{name}_stability.csv"
        found.training.to_csv(tmp_path / f"{name}_training.csv", index=False)
        files[f"training:{name}"] = f"{name}_training.csv"
    cells = pd.DataFrame({"barcode": "x", "batch": ["d:x", "d:y"] * 4}, index=CELLS)
    cells = cells if "no labels" in kind else cells.assign(label=LABELS)
    # A cell that quality control has dropped is in no cluster.
    pd.concat([cells, cells.iloc[:1].rename({"d:c0": "d:dropped"})]).rename_axis("cell").to_parquet(
        tmp_path / "cells.parquet"
    )
    files["dataset_cells:d"] = "cells.parquet"
    integration_rows(a={"ilisi": 0.5}, b={"ilisi": 0.6}).to_csv(tmp_path / "integration.csv", index=False)
    files["integration"] = "integration.csv"
    if kind == "all":
        held_out_rows(a=0.9, b=0.5).to_csv(tmp_path / "scores.csv", index=False)
        files["held_out_scores:fold_1"] = "scores.csv"
        write_json(
            {"seconds": 3.5, "peak_mb": 100, "device": "cpu"}, tmp_path / "logs/train_reference/reference/a.json"
        )
    output = {name: str(tmp_path / f"out/{name}.csv") for name in ("table", "clusters", "labels")}
    output["figure"] = str(tmp_path / "out/models.png")
    smk = SimpleNamespace(
        input=NamedPaths(**{name: str(tmp_path / path) for name, path in files.items()}),
        output=SimpleNamespace(**output),
        params=SimpleNamespace(models=settings, replicates=[["d:x", "d:y"]]),
        log=[str(tmp_path / "logs/compare_models.log")],
    )
    script.main(smk)
    table = read_csv(output["table"])
    assert set(table["model"]) == {"a", "b"}
    assert len(read_csv(output["clusters"])) == (0 if kind == "no clusters" else 5)
    assert len(read_csv(output["labels"])) == (6 if kind == "all" else 0)
    assert table["train_seconds"].tolist() == pytest.approx([3.5 if kind == "all" else np.nan, np.nan], nan_ok=True)
    if kind == "all":
        assert table.set_index("model")["macro_f1"].to_dict() == {"a": 0.9, "b": 0.5}
    assert (tmp_path / "out/models.png").stat().st_size > 1000


def test_the_figure_prints_the_values_of_known_measures(compared):
    figure = plot_model_choice(compared["models"].assign(kbet=np.nan))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert {"held-out labels", "stability", "0.950", "0.700"} <= set(texts)
    assert "kBET" not in texts
    bold = {text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"}
    # The best of each measure: high macro-F1, little time; the number of clusters has no best.
    assert {"0.900", "0"} <= bold
    assert "0.880" not in bold


def test_the_figure_of_one_model_has_no_colors(compared):
    figure = plot_model_choice(compared["models"].iloc[:1])
    assert {patch.get_facecolor() for patch in figure.axes[0].patches} == {(1, 1, 1, 1)}
