"""Tuning by held-out transfer: the settings that are drawn, the choice among trials, the gain, and what is refused."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from conftest import small_counts
from refatlas.bundle.manifest import settings_with_atlas
from refatlas.config.labels import without_labels
from refatlas.config.settings import complete_config
from refatlas.config.tuning import tuning_folds, tuning_split
from refatlas.errors import InputError
from refatlas.evaluate import tuning_trial
from refatlas.evaluate.label_scores import expected_calibration_error, score_labels
from refatlas.evaluate.tuning import (
    Resamples,
    Trial,
    choose,
    gain,
    gain_facts,
    scores_of,
    weighted_calibration_error,
    weighted_macro_f1,
)
from refatlas.evaluate.tuning_trial import TrialJob, run_trial, settings_of_trial
from refatlas.models.search_space import n_points, settings_of_trials, tuned_settings, with_chosen
from refatlas.prepare.folds import plan_fold
from refatlas.report.tuning_figure import plot_trials
from script_job import run_script

SPACE = {
    "model.n_latent": [10, 20, 30],
    "model.n_hidden": {"low": 32, "high": 64, "log": False, "integer": True},
    "train.lr": {"low": 1e-4, "high": 1e-2, "log": True, "integer": False},
}
LABELS = ["A", "B", "C"]


def config_with(tune, **more):
    models = {"scvi": {"type": "scvi"}, "scanvi": {"type": "scanvi", "init_from": "scvi"}}
    given = {"reference": "reference.tsv", "queries": "queries.tsv", "models": models, "tune": tune}
    return complete_config({**given, **more})


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_further_trials_leave_the_earlier_ones_as_they_are(sampler):
    many = settings_of_trials(SPACE, sampler, 33, seed=0)
    assert many[0] == {}
    assert all(settings_of_trials(SPACE, sampler, n, seed=0) == many[:n] for n in (1, 2, 20, 21))
    assert settings_of_trials(SPACE, sampler, 33, seed=1)[1:] != many[1:]
    rates = np.array([chosen["train.lr"] for chosen in many[1:]])
    assert ((rates >= 1e-4) & (rates <= 1e-2)).all()
    # Half of the rates are below the middle of the logarithms, which is a tenth of the range itself.
    assert 0.3 < (rates < 1e-3).mean() < 0.7
    assert {chosen["model.n_latent"] for chosen in many[1:]} == {10, 20, 30}
    hidden = {chosen["model.n_hidden"] for chosen in many[1:]}
    assert {type(value) for value in hidden} == {int}
    assert min(hidden) >= 32
    assert max(hidden) <= 64


def test_the_order_of_a_space_changes_no_trial():
    turned = dict(reversed(list(SPACE.items())))
    assert settings_of_trials(turned, "sobol", 9, 0) == settings_of_trials(SPACE, "sobol", 9, 0)


def test_integers_of_a_range_are_all_drawn_and_none_beyond():
    for log in (False, True):
        space = {"model.n_layers": {"low": 1, "high": 3, "log": log, "integer": True}}
        drawn = [chosen["model.n_layers"] for chosen in settings_of_trials(space, "sobol", 65, 0)[1:]]
        assert set(drawn) == {1, 2, 3}


def test_a_repeated_setting_names_its_first_trial():
    space = {"model.n_latent": [10, 20, 30]}
    drawn = settings_of_trials(space, "random", 12, 0)
    repeated = next(i for i in range(2, 12) if drawn[i] in drawn[1:i])
    own = {"type": "scvi", "model": {"n_latent": 5}}
    assert settings_of_trial(repeated, own, space, "random", 0) == (drawn[repeated], drawn.index(drawn[repeated]))
    assert settings_of_trial(0, own, space, "random", 0) == ({}, None)


def test_the_settings_of_the_configuration_are_trial_0_if_they_are_drawn():
    space = {"model.n_latent": [10, 20, 30]}
    drawn = settings_of_trials(space, "sobol", 6, 0)
    own = {"type": "scvi", "model": {"n_latent": 20}}
    first = [settings_of_trial(i, own, space, "sobol", 0)[1] for i in range(6)]
    assert {first[i] for i in range(6) if drawn[i] == {"model.n_latent": 20}} == {0}
    assert [first[drawn.index({"model.n_latent": n})] for n in (10, 30)] == [None, None]


def test_chosen_settings_leave_the_others_as_they_are(tmp_path):
    settings = {"type": "scvi", "model": {"n_latent": 20, "n_layers": 2}, "train": {"lr": 1e-3}}
    found = with_chosen(settings, {"model.n_latent": 10})
    assert found == {"type": "scvi", "model": {"n_latent": 10, "n_layers": 2}, "train": {"lr": 1e-3}}
    assert settings["model"]["n_latent"] == 20
    assert tuned_settings(settings, None) is settings
    (tmp_path / "best.json").write_text('{"trial": 0, "settings": {}}')
    assert tuned_settings(settings, tmp_path / "best.json") == settings


def test_weighted_macro_f1_is_that_of_repeated_cells():
    random = np.random.default_rng(0)
    truth, label, weights = random.integers(0, 4, 300), random.integers(-1, 4, 300), random.integers(0, 3, 300)
    weights[truth == 2] = 0
    t, p = truth.repeat(weights), label.repeat(weights)
    expected = f1_score(t, p, labels=sorted(set(t)), average="macro", zero_division=0)
    assert weighted_macro_f1(truth, label, weights) == pytest.approx(expected)


def test_weighted_calibration_error_is_that_of_repeated_cells():
    random = np.random.default_rng(0)
    correct, confidence, weights = random.random(300) < 0.7, random.random(300), random.integers(0, 3, 300)
    expected = expected_calibration_error(correct.repeat(weights).astype(float), confidence.repeat(weights))
    assert weighted_calibration_error(correct, confidence, weights) == pytest.approx(expected)


def made_cells(error: float, confidence: float = 0.9, n: int = 600, seed: int = 0) -> pd.DataFrame:
    """Return scored cells of two batches, of which a share has a wrong label; a larger share has the same and more."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, 3, n)
    wrong = random.random(n) < error
    label = np.where(wrong, (truth + 1) % 3, truth)
    cells = pd.DataFrame({"batch": np.where(np.arange(n) < n // 3, "b1", "b2")}, index=[f"c{i:04}" for i in range(n)])
    cells["truth"], cells["label"], cells["confidence"] = np.take(LABELS, truth), np.take(LABELS, label), confidence
    return cells


def made_trial(number: int, cells: pd.DataFrame | None, reason: str = "") -> Trial:
    facts = {"status": "done" if cells is not None else "failed", "reason": reason, "epochs": 3, "seconds": 1.0}
    facts |= {"chosen": {"model.n_latent": number} if number else {}, "settings": {"model": {"n_latent": number}}}
    return Trial(number, {**facts, "scores": None if cells is None else scores_of(cells)}, cells)


def chosen_of(*tables):
    return choose([made_trial(i, cells) for i, cells in enumerate(tables)], ["model.n_latent"], seed=0)


def test_a_better_setting_replaces_the_defaults_and_a_bad_one_never_does():
    best, table = chosen_of(made_cells(0.2), made_cells(0.6), made_cells(0.05))
    assert best == 2
    rows = table.set_index("trial")
    assert list(rows["chosen"]) == [False, False, True]
    assert rows.loc[2, "gain_low"] > 0 > rows.loc[1, "gain_high"]
    assert rows.loc[2, "gain"] == pytest.approx(rows.loc[2, "macro_f1"] - rows.loc[0, "macro_f1"])
    # Settings that are confidently wrong do not win by their calibration either.
    best, _ = chosen_of(made_cells(0.1, confidence=0.5), made_cells(0.6, confidence=0.4))
    assert best == 0


def test_a_gain_within_the_noise_keeps_the_defaults():
    better = made_cells(0.2)
    first_wrong = better.index[(better["label"] != better["truth"])][:2]
    better.loc[first_wrong, "label"] = better.loc[first_wrong, "truth"]
    best, table = chosen_of(made_cells(0.2), better)
    assert table.set_index("trial").loc[1, "gain"] > 0
    assert best == 0


def test_calibration_decides_among_trials_that_are_equally_good():
    best, table = chosen_of(made_cells(0.4), made_cells(0.05, confidence=0.5), made_cells(0.05, confidence=0.94))
    assert best == 2
    assert list(table["tied"]) == [False, True, True]


def test_a_proven_gain_is_not_lost_to_a_better_calibrated_trial_whose_gain_is_not(monkeypatch):
    # Macro-F1 of the trials is 0.60, 0.62 and 0.62; of the last, resamples vary much.
    macro_f1, spread = np.array([0.6, 0.62, 0.619]), np.array([0, 0.005, 0.02])
    draws = macro_f1[:, None] + spread[:, None] * np.random.default_rng(0).normal(size=(3, 1000))
    monkeypatch.setattr(Resamples, "scores", lambda *_: draws)
    trials = [made_trial(i, made_cells(0.1)) for i in range(3)]
    for trial, f1, ece in zip(trials, macro_f1, (0.1, 0.08, 0.02), strict=True):
        trial.facts["scores"] = {"macro_f1": f1, "ece": ece, "accuracy": f1}
    best, table = choose(trials, ["model.n_latent"], 0)
    assert list(table["tied"]) == [False, True, True]
    assert list(table["gain_low"] > 0) == [False, True, False]
    assert best == 1
    assert list(table["chosen"]) == [False, True, False]


def test_failed_trials_are_listed_and_not_chosen():
    trials = [made_trial(0, made_cells(0.3)), made_trial(1, None, "loss is nan"), made_trial(2, made_cells(0.05))]
    best, table = choose(trials, ["model.n_latent"], 0)
    row = table.set_index("trial").loc[1]
    assert (best, row["status"], row["reason"]) == (2, "failed", "loss is nan")
    assert math.isnan(row["macro_f1"])
    # Without scores of the defaults there is nothing to keep.
    assert choose([made_trial(0, None, "loss is nan"), *trials[1:]], ["model.n_latent"], 0)[0] == 2
    with pytest.raises(InputError, match="all trials failed, the first with: loss is nan"):
        choose([made_trial(0, None, "loss is nan")], ["model.n_latent"], 0)


def test_the_gain_is_paired_and_may_be_nothing_or_negative():
    good, bad = made_cells(0.05), made_cells(0.3)
    found = gain(bad, good, seed=0)
    scores = score_labels(good["truth"], good["label"], good["confidence"], set(LABELS))
    assert found["macro_f1"]["tuned"] == pytest.approx(scores["macro_f1"])
    assert found["macro_f1"]["low"] < found["macro_f1"]["gain"] < found["macro_f1"]["high"]
    assert found["macro_f1"]["low"] > 0
    assert found["ece"]["gain"] == pytest.approx(found["ece"]["tuned"] - found["ece"]["defaults"])
    assert sum(batch["n_cells"] for batch in found["batches"].values()) == len(good)
    assert gain(good, bad, seed=0)["macro_f1"]["high"] < 0
    same = gain(good, good, seed=0)
    assert (same["macro_f1"]["low"], same["macro_f1"]["high"], same["ece"]["gain"]) == (0, 0, 0)


def test_an_interval_has_about_the_width_of_the_sampling_error():
    # The difference of two accuracies over the same cells, of which a tenth differs: its error is known.
    draws = [
        scores_of(made_cells(0.2, seed=i))["accuracy"] - scores_of(made_cells(0.1, seed=i))["accuracy"]
        for i in range(60)
    ]
    found = gain(made_cells(0.1, seed=0), made_cells(0.2, seed=0), 0)["macro_f1"]
    assert (found["high"] - found["low"]) / (2 * 1.96) == pytest.approx(np.std(draws), rel=0.35)


def test_resamples_keep_the_size_of_each_batch_and_refuse_other_cells():
    cells = made_cells(0.1)
    weights = next(iter(Resamples(cells, 0, 1).counts()))
    assert weights[(cells["batch"] == "b1").to_numpy()].sum() == (cells["batch"] == "b1").sum()
    with pytest.raises(ValueError, match="different cells"):
        Resamples(cells, 0, 1).scores([cells.iloc[1:]])


def test_kept_defaults_gain_nothing_and_say_so():
    fold = {"held_out": ["kang:b1"], "simulated": False}
    found = gain_facts({"trial": 0, "settings": {}}, fold, fold, None, 0)
    assert found["scores"] is None
    assert "kept" in found["verdict"]


def test_defaults_that_fail_on_the_judging_batches_are_said(tmp_path):
    fold = {"held_out": ["kang:b1"], "simulated": False}
    paths = {name: tmp_path / name for name in ("best", "tuning", "fold", "defaults_trial", "gain")}
    paths["best"].write_text(json.dumps({"trial": 2, "settings": {"train.lr": 1e-4}}))
    for name in ("tuning", "fold"):
        paths[name].write_text(json.dumps(fold))
    paths["defaults_trial"].write_text(json.dumps({"status": "failed", "reason": "loss is nan"}))
    missing = dict.fromkeys(("defaults", "tuned", "cells"), tmp_path / "not read")
    run_script("measure_gain", str(tmp_path / "log"), {**paths, **missing}, {"gain": paths["gain"]}, seed=0)
    found = json.loads(paths["gain"].read_text())
    assert found["scores"] is None
    assert found["verdict"].endswith("nothing can be compared: loss is nan")


@pytest.mark.parametrize("number", [0, 3])
def test_a_loss_that_is_not_finite_makes_a_failed_trial(number, monkeypatch, tmp_path):
    attempts = []

    def fit(counts, settings, job, counts_file, again):
        attempts.append(again)
        try:
            raise FloatingPointError("scvi: loss is nan after epoch 1")
        except FloatingPointError as error:
            if again:
                raise InputError("also with a tenth of the learning rate") from error
            raise

    monkeypatch.setattr(tuning_trial, "fit_reference", fit)
    settings = {"type": "scvi", "train": {"lr": 1e-3}}
    chosen = {"train.lr": 1.0} if number else {}
    job = TrialJob(settings, 0, 1, tmp_path, [], math.inf)
    found = run_trial(number, chosen, small_counts(), "", None, None, pd.Series(dtype=object), 5, job)
    # The defaults have the second attempt that every training has; other settings must do without.
    assert attempts == [number == 0]
    assert (found.facts["status"], found.facts["scores"], len(found.cells)) == ("failed", None, 0)
    assert "learning rate" in found.facts["reason"] or "nan" in found.facts["reason"]
    assert found.facts["settings"]["train"]["lr"] == (1.0 if number else 1e-3)


def test_other_errors_of_a_trial_are_not_swallowed(monkeypatch, tmp_path):
    def fit(*_, **__):
        raise InputError("a file is damaged")

    monkeypatch.setattr(tuning_trial, "fit_reference", fit)
    job = TrialJob({"type": "scvi"}, 0, 1, tmp_path, [], math.inf)
    with pytest.raises(InputError, match="a file is damaged"):
        run_trial(1, {}, small_counts(), "", None, None, pd.Series(dtype=object), 5, job)


def test_a_trial_is_trained_mapped_and_scored(tmp_path):
    counts, query = small_counts(seed=0), small_counts(seed=0)
    counts.obs["label"] = counts.obs["cell_type"].astype("category")
    query.obs_names = [f"q{i}" for i in range(query.n_obs)]
    cells = query.obs[["batch"]].assign(label=query.obs["cell_type"])
    cells.iloc[0, 1] = "unknown in the reference"
    query.obs = query.obs[["batch"]].replace({"b1": "q1", "b2": "q2"})
    settings = complete_config({"reference": "r.tsv", "queries": "q.tsv", "models": {"scvi": {"type": "scvi"}}})
    settings = settings["models"]["scvi"]
    for section in ("train", "surgery"):
        settings = {**settings, section: {**settings[section], "max_epochs": 2}}
    job = TrialJob(settings, 0, 1, tmp_path, [], math.inf)
    found = run_trial(1, {"model.n_latent": 3}, counts, "", query, cells, counts.obs["label"], 5, job)
    assert found.facts["status"] == "done"
    assert found.facts["settings"]["model"]["n_latent"] == 3
    assert len(found.cells) == query.n_obs - 1
    assert found.facts["scores"] == scores_of(found.cells)
    assert found.facts["epochs"] == len(found.training.history) == 2
    assert not list(tmp_path.iterdir())


def cells_of_batches(n_batches: int) -> pd.DataFrame:
    batches = [f"d:b{i}" for i in range(n_batches) for _ in range(40)]
    labels = ["A", "B"] * (len(batches) // 2)
    return pd.DataFrame({"batch": batches, "label": labels}, index=[f"d:c{i}" for i in range(len(batches))])


def test_batches_that_judge_take_no_part_in_trials():
    cells = cells_of_batches(6)
    fold = tuning_split({"folds": 3, "hide": 0})
    roles, summary = plan_fold(cells, fold, "batch", 0)
    judging, judged = plan_fold(cells, fold["set_aside"], "batch", 0)
    aside = cells.index[judging == "held_out"]
    assert set(roles[aside]) == {"left_out"}
    assert summary["set_aside"] == judged["held_out"]
    assert not set(summary["held_out"]) & set(summary["set_aside"])
    assert summary["n_cells"] == {"train": 80, "held_out": 80, "left_out": 80}


def test_tuning_needs_three_batches_and_folds_without_batches_in_common():
    with pytest.raises(InputError, match="no batch is left to train on; tuning needs three batches"):
        plan_fold(cells_of_batches(2), tuning_split({"folds": 2, "hide": 0}), "batch", 0)
    named = tuning_split({"folds": {"a": ["b0", "b1"], "b": ["b1"]}, "hide": 0})
    with pytest.raises(InputError, match="the folds share d:b1; name folds without batches in common"):
        plan_fold(cells_of_batches(4), named, "batch", 0)


def test_the_first_fold_chooses_and_the_last_one_judges():
    assert tuning_folds({"folds": {"x": ["1"], "y": ["2"], "z": ["3"]}, "hide": 1}) == ("fold_x", "fold_z")


def test_off_by_default_and_completed_when_on(config):
    assert "tune" not in config
    found = config_with({"scvi": {"space": {"train.lr": {"low": "1e-4", "high": 0.01, "log": True}}}})["tune"]
    expected = {"train.lr": {"low": 1e-4, "high": 0.01, "log": True, "integer": False}}
    assert found == {"scvi": {"space": expected, "trials": 20, "sampler": "sobol"}}
    # A bundle keeps completed settings, which are completed again where queries are mapped onto it.
    assert config_with(found)["tune"] == found
    assert n_points(expected) == math.inf
    assert config_with({"scvi": {"space": {"train.lr": ["1e-4", 0.01]}, "trials": 3}})["tune"]["scvi"]["space"] == {
        "train.lr": [1e-4, 0.01]
    }


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"n_latent": [10]},
            "'n_latent' is no setting of type scvi, as section.setting (did you mean 'model.n_latent'?)",
        ),
        ({"model.n_latnet": [10]}, "(did you mean 'model.n_latent'?)"),
        ({"model.n_latent": [1, 10]}, "space: model.n_latent: model: n_latent: 1 is less than the minimum of 2"),
        ({"train.lr": {"low": 1e-3, "high": 10}}, "space: train.lr: train: lr: 10 is greater than the maximum of 1"),
        ({"train.lr": {"low": 0.1, "high": 0.01}}, "low: 0.1 is not below high: 0.01"),
        ({"train.lr": {"low": 0.01, "high": 0.1, "step": 1}}, "is no range"),
        ({"train.lr": {"low": "small", "high": 0.1}}, "low: 'small' is no number"),
        ({"train.kl_warmup": {"low": 0, "high": 1, "log": True}}, "low: 0 has no logarithm"),
        ({"model.gene_likelihood": {"low": 1, "high": 2}}, "has a range, and is no number"),
        ({"model.gene_likelihood": ["nb", "normal"]}, "'normal' is not one of"),
        ({"model.n_latent": {"low": 5.5, "high": 10}}, "5.5 has the wrong type; expected integer"),
        ({"model.n_latent": [10, 10]}, "names a value twice"),
        ({"model.n_latent": 10}, "10 is neither a list of values"),
        ({"model.n_latent": []}, "[] is neither a list of values"),
        ({"surgery.lr": [0.1]}, "section surgery does not change how the reference is trained, and is not tuned"),
        (
            {"model.n_latent": [10, 30]},
            "trials: 20: the space has 2 settings, which with those of the configuration are 3",
        ),
        ({}, "space"),
    ],
)
def test_a_space_that_the_model_would_refuse_is_refused_at_planning(space, message):
    with pytest.raises(InputError) as error:
        config_with({"scvi": {"space": space}})
    assert str(error.value).startswith("config: tune: scvi: ")
    assert message in str(error.value)


LATENT = {"space": {"model.n_latent": [10, 30]}, "trials": 3}


@pytest.mark.parametrize(
    ("tune", "more", "message"),
    [
        ({"scvy": LATENT}, {}, "config: tune: scvy: is not in models"),
        ({"linear": LATENT}, {}, "config: tune: linear: type linear is the baseline that all others are compared with"),
        ({"mine": LATENT}, {"models": {"mine": {"type": "embedding", "model": {"key": "X"}}}}, "made elsewhere"),
        ({"scanvi": LATENT}, {}, "the model starts from 'scvi', whose latent space it keeps; tune that one"),
        ({"m": LATENT}, {"models": {"m": {"type": "scvi", "gpus": 2}}}, "gpus: 2: a trial is trained on one GPU"),
        ({"scvi": LATENT}, {"evaluation": {"folds": 1}}, "evaluation.folds makes fold_1; set it to at least 2"),
        ({"scvi": LATENT}, {"evaluation": {"folds": 0}}, "set it to at least 2"),
        ({"scvi": {**LATENT, "sampler": "tpe"}}, {}, "'tpe' is not one of"),
        ({"scvi": {**LATENT, "trails": 3}}, {}, "unknown key 'trails' (did you mean 'trials'?)"),
        ({"scvi": {"trials": 3}}, {}, "'space' is a required property"),
        (
            {"scvi": {"space": {"train.max_epochs": [5, 50]}, "trials": 3}},
            {"evaluation": {"max_epochs": 10}},
            "50: folds train for at most evaluation.max_epochs, 10",
        ),
    ],
)
def test_what_cannot_be_tuned_is_refused_at_planning(tune, more, message):
    with pytest.raises(InputError) as error:
        config_with(tune, **more)
    assert message in str(error.value)


def test_not_with_an_atlas_bundle():
    with pytest.raises(InputError, match="config: tune: the models of an atlas bundle are trained"):
        settings_with_atlas({"atlas": "atlas.tar", "tune": {"scvi": LATENT}}, {"settings": {}})


def test_a_file_is_not_tuned(tmp_path):
    (tmp_path / "a.gmt").write_text("P\t-\tG1\tG2\n")
    models = {"m": {"type": "expimap", "model": {"gmt": str(tmp_path / "a.gmt")}}}
    with pytest.raises(InputError, match=r"model\.gmt: names a file, which is not tuned"):
        config_with({"m": {"space": {"model.gmt": ["b.gmt"]}}}, models=models)


def test_left_out_without_labels():
    found, notes = without_labels(config_with({"scvi": LATENT}))
    assert "tune" not in found
    assert any("tuning of models" in note for note in notes)


def test_the_figure_shows_every_scored_trial():
    trials = [made_trial(0, made_cells(0.3)), made_trial(1, made_cells(0.1)), made_trial(2, None, "loss is nan")]
    _, table = choose(trials, ["model.n_latent"], 0)
    figure = plot_trials("scvi", table, ["model.n_latent"])
    shown = [
        tuple(point) for ax in figure.axes[:1] for part in ax.collections for point in np.array(part.get_offsets())
    ]
    done = table[table["status"] == "done"]
    assert {y for _, y in shown} >= set(done["macro_f1"])
    assert "2 trials, 1 failed" in figure.get_suptitle()
