"""The pool of all sources: which weights are chosen, and how a source that disagrees loses its own."""

import json

import numpy as np
import pandas as pd
import pytest
from test_calibration import probabilities

from refatlas.transfer.calibration import log_loss
from refatlas.transfer.evidence import Evidence
from refatlas.transfer.pooling import (
    HALF_WEIGHT,
    batch_disagreements,
    batch_weights,
    choose_weights,
    disagreement,
    fit_pool,
    fixed_candidates,
    learn,
    matched_pool,
    pooled_probabilities,
    pooled_sources,
)

LABELS = list("ABCD")
GROUPS = np.repeat(["a", "b", "c"], 300)


def blurred(p: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return probabilities of which a share is replaced by those of a useless source."""
    return (1 - share) * p + share * np.random.default_rng(seed).dirichlet(np.ones(p.shape[1]), len(p))


@pytest.fixture(scope="module")
def known():
    return probabilities(900)


def test_sources_that_are_pooled():
    names = ["matched:classifier", "matched:knn", "m:knn"]
    assert pooled_sources(names, None) == names
    assert pooled_sources(names, "matched") == names[:2]
    assert pooled_sources(names, "m:knn") == ["m:knn"]
    assert pooled_sources(names, "matched:knn") == ["matched:knn"]


def test_learned_weights_trust_the_source_that_knows(known):
    good, truth = known
    weights = fit_pool([good, blurred(good, 1, 1)], truth)
    assert weights[0] > 0.7
    assert weights[1] < 0.2


def test_candidates_without_anything_to_learn():
    found = fixed_candidates(["matched:knn", "matched:logistic", "linear:knn", "m:knn"])
    assert list(found)[:3] == ["balanced", "matched", "all"]
    # The baseline without matching has no part in the balance.
    assert found["balanced"].tolist() == [0.25, 0.25, 0, 0.5]
    assert found["matched"].tolist() == [0.5, 0.5, 0, 0]
    assert found["m:knn"].tolist() == [0, 0, 0, 1]
    assert list(fixed_candidates(["matched:knn", "linear:knn"])) == ["matched", "all", "matched:knn", "linear:knn"]
    assert list(fixed_candidates(["m:knn"])) == ["all", "m:knn"]


@pytest.mark.parametrize("studies", [False, True])
def test_the_balance_is_kept_if_others_are_as_good(known, studies):
    p, truth = known
    parts = {"matched:knn": p, "m:knn": blurred(p, 0.02, 1)}
    weights, candidates = choose_weights(parts, truth, GROUPS, studies)
    assert weights == [0.5, 0.5]
    assert list(candidates) == ["balanced", "matched", "all", *parts, "learned"]


@pytest.mark.parametrize("studies", [False, True])
def test_the_balance_is_kept_unless_another_is_better_by_a_standard_error(known, studies):
    p, truth = known
    # The model is better by far in two groups, which draws the balance along, and much worse in the third.
    model = np.where((GROUPS == "c")[:, None], blurred(p, 0.9, 1), p)
    parts = {"matched:knn": blurred(p, 0.4, 2), "m:knn": model}
    weights, candidates = choose_weights(parts, truth, GROUPS, studies)
    assert weights == [0.5, 0.5]
    assert candidates["balanced"] < min(candidates["matched"], candidates["m:knn"])


@pytest.mark.parametrize("studies", [False, True])
def test_the_matched_baseline_may_always_take_the_place_of_the_balance(known, studies):
    p, truth = known
    parts = {"matched:knn": p, "m:knn": blurred(p[:, ::-1], 0.5, 1)}
    weights, candidates = choose_weights(parts, truth, GROUPS, studies)
    assert weights[0] > 0.9
    assert weights[1] < 0.25
    assert candidates["matched"] < candidates["balanced"]


def test_other_sources_may_only_if_groups_are_studies(known):
    p, truth = known
    parts = {"matched:knn": blurred(p[:, ::-1], 0.5, 1), "m:knn": p}
    within, candidates = choose_weights(parts, truth, GROUPS, studies=False)
    assert within == [0.5, 0.5]
    assert candidates["m:knn"] < candidates["balanced"]
    between, _ = choose_weights(parts, truth, GROUPS, studies=True)
    assert between[0] < 0.25
    assert between[1] > 0.9


def test_a_single_source_needs_no_weights(known):
    weights, candidates = choose_weights({"m:knn": known[0]}, known[1], GROUPS, studies=True)
    assert weights == [1.0]
    assert list(candidates) == ["all", "m:knn"]


def sources(share: float) -> dict[str, np.ndarray]:
    """Return sources of 100 cells, of which a model gives this share another label than the matched baseline."""
    one, other = np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.01, 0.97, 0.01, 0.01])
    matched = np.tile(one, (100, 1))
    return {"matched:knn": matched, "matched:logistic": matched, "m:knn": (1 - share) * matched + share * other}


LEARNED = {
    "wanted": ["matched:knn", "matched:logistic", "m:knn"],
    "weights": [0.3, 0.3, 0.4],
    "disagreement": {"matched:knn": 0.0, "matched:logistic": 0.0, "m:knn": 0.1},
}


def weights_of(parts: dict[str, np.ndarray], learned=LEARNED) -> np.ndarray:
    """Return the weights of the pooled sources where these are the cells of one batch."""
    return batch_weights({name: disagreement(parts, name).mean() for name in learned["wanted"]}, learned)


def test_disagreement_by_hand():
    parts = {"matched:knn": np.array([[1.0, 0.0], [0.5, 0.5]]), "m:knn": np.array([[0.3, 0.7], [0.2, 0.8]])}
    assert disagreement(parts, "m:knn") == pytest.approx([0.7, 0.5], abs=1e-3)
    assert matched_pool(parts) == pytest.approx(parts["matched:knn"], abs=1e-3)


def test_a_source_that_disagrees_as_in_held_out_batches_keeps_its_weight():
    assert weights_of(sources(0.0)) == pytest.approx([0.3, 0.3, 0.4])
    assert weights_of(sources(0.04)) == pytest.approx([0.3, 0.3, 0.4])


def test_a_source_that_disagrees_more_loses_weight_smoothly():
    shares = np.linspace(0, 1, 401)
    found = np.array([weights_of(sources(share)) for share in shares])
    assert found.sum(axis=1) == pytest.approx(np.ones(401))
    ratio = found[:, 2] / found[:, 0]
    assert (np.diff(ratio) <= 1e-9).all()
    assert np.abs(np.diff(found[:, 2])).max() < 0.01
    assert (ratio[0], ratio[-1]) == pytest.approx((4 / 3, 0), abs=0.01)
    assert found[:, 0] == pytest.approx(found[:, 1])
    excess = np.array([disagreement(sources(share), "m:knn").mean() for share in shares]) - 0.1
    half = np.abs(excess - HALF_WEIGHT).argmin()
    assert ratio[half] == pytest.approx(2 / 3, rel=0.1)


def test_sources_of_the_matched_baseline_keep_their_weights():
    parts = sources(0.0)
    parts["matched:logistic"] = parts["matched:logistic"][:, ::-1]
    assert weights_of(parts, {**LEARNED, "disagreement": dict.fromkeys(parts, 1.0)}) == pytest.approx([0.3, 0.3, 0.4])


def test_a_pool_without_the_matched_baseline_keeps_its_weight():
    learned = {**LEARNED, "wanted": ["m:knn"], "weights": [1.0]}
    assert weights_of(sources(0.5), learned) == pytest.approx([1.0])
    assert weights_of(sources(1.0), learned) == pytest.approx([1.0])


def evidence(parts: dict[str, np.ndarray], groups: np.ndarray) -> Evidence:
    cells = pd.Index([f"c{i}" for i in range(len(groups))])
    return Evidence(cells, LABELS, parts, pd.DataFrame(index=cells), groups, {})


def test_what_is_learned_can_be_written_and_applied(known):
    p, truth = known
    parts = {"matched:knn": p**2 / (p**2).sum(axis=1, keepdims=True), "m:knn": blurred(p, 0.2, 1)}
    cells = evidence(parts, np.char.add("fold ", GROUPS))
    learned = json.loads(json.dumps(learn(cells, truth, GROUPS, list(parts), 0.1)))
    assert learned["sources"]["matched:knn"]["temperature"] > 1.5
    assert learned["disagreement"]["m:knn"] >= learned["disagreement"]["matched:knn"]
    assert len(learned["set_limits"]) == 4
    found, weights = pooled_probabilities(cells, learned)
    assert found.sum(axis=1) == pytest.approx(np.ones(900))
    assert log_loss(found, truth) < log_loss(p, truth) + 0.03
    assert set(weights) == {"fold a", "fold b", "fold c"}
    for of_batch in weights.values():
        assert list(of_batch.values()) == pytest.approx(learned["weights"])


def test_a_source_that_fails_in_one_batch_loses_weight_there_alone(known):
    p, truth = known
    parts = {"matched:knn": blurred(p, 0.05, 1), "m:knn": p}
    learned = learn(evidence(parts, GROUPS), truth, GROUPS, list(parts), 0.1)
    learned["weights"] = [0.5, 0.5]
    failed = {**parts, "m:knn": np.where((GROUPS == "b")[:, None], p[:, ::-1], p)}
    _, weights = pooled_probabilities(evidence(failed, GROUPS), learned)
    assert weights["a"]["m:knn"] == weights["c"]["m:knn"] == pytest.approx(0.5)
    assert weights["b"]["m:knn"] < 0.1


def in_batches(sizes: dict[str, int]) -> np.ndarray:
    return np.repeat(list(sizes), list(sizes.values()))


def agreeing(differing: np.ndarray) -> dict[str, np.ndarray]:
    """Return sources of which a model gives some cells another label than the matched baseline."""
    one, other = np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.01, 0.97, 0.01, 0.01])
    return {"matched:knn": np.tile(one, (len(differing), 1)), "m:knn": np.where(differing[:, None], other, one)}


def test_a_batch_of_few_cells_is_judged_by_its_fold_and_a_fold_of_few_by_all_cells():
    groups = in_batches({"s1 a": 99, "s1 b": 1, "s2 a": 30, "s3 a": 20, "s3 b": 20, "s4 a": 10})
    parts = agreeing(np.isin(groups, ["s1 b", "s3 a", "s4 a"]))
    same, differ = (disagreement(parts, "m:knn")[groups == group][0] for group in ("s1 a", "s1 b"))
    found = batch_disagreements(evidence(parts, groups), parts, "m:knn")

    def mean(share: float) -> float:
        return share * differ + (1 - share) * same

    expected = {"s1 a": 0, "s1 b": 0.01, "s2 a": 0, "s3 a": 0.5, "s3 b": 0.5, "s4 a": 31 / 180}
    assert found == pytest.approx({group: mean(share) for group, share in expected.items()})


def test_cells_of_low_quality_do_not_count_for_the_disagreement_of_their_batch():
    groups = in_batches({"s1 a": 80, "s1 b": 40})
    cells = evidence(agreeing(np.arange(120) >= 40), groups)
    cells.measures["kept"] = np.arange(120) < 40
    same, differ = (disagreement(cells.sources, "m:knn")[i] for i in (0, 119))
    assert batch_disagreements(cells, cells.sources, "m:knn") == pytest.approx({"s1 a": same, "s1 b": differ})


def test_a_single_cell_does_not_set_the_limit_of_the_disagreement(known):
    p, truth = known
    parts = {"matched:knn": blurred(p, 0.05, 1), "m:knn": p.copy()}
    # The only cell of its batch, by which the source seems to be wrong in every cell.
    alone = int(np.argmax(p.max(axis=1)))
    parts["m:knn"][alone] = np.roll(p[alone], 1)
    groups = np.char.add("s1 ", GROUPS).astype(object)
    groups[alone] = "s1 d"
    learned = learn(evidence(parts, groups.astype(str)), truth, GROUPS, list(parts), 0.1)
    usual = learn(evidence(parts, np.char.add("s1 ", GROUPS)), truth, GROUPS, list(parts), 0.1)
    assert learned["disagreement"]["m:knn"] == pytest.approx(usual["disagreement"]["m:knn"], abs=0.01)
    learned["weights"] = [0.5, 0.5]
    permuted = evidence({**parts, "m:knn": np.roll(p, 1, axis=1)}, np.full(900, "atlas q"))
    assert pooled_probabilities(permuted, learned)[1]["atlas q"]["m:knn"] < 0.1


def test_cells_without_a_vote_are_no_disagreement(known):
    p, truth = known
    parts = {"matched:knn": blurred(p, 0.05, 1), "e:external": p}
    everywhere = learn(evidence(parts, GROUPS), truth, GROUPS, list(parts), 0.1)
    everywhere["weights"] = [0.5, 0.5]
    silent = np.random.default_rng(0).random(900) < 0.2
    partly = evidence({**parts, "e:external": np.where(silent[:, None], 0, p)}, GROUPS)
    assert partly.votes("e:external").tolist() == (~silent).tolist()
    _, weights = pooled_probabilities(partly, everywhere)
    assert [of_batch["e:external"] for of_batch in weights.values()] == pytest.approx([0.5] * 3, abs=0.03)
    # Nor do they raise the limit, if held-out cells lack them.
    learned = learn(partly, truth, GROUPS, list(parts), 0.1)
    assert learned["disagreement"]["e:external"] == pytest.approx(everywhere["disagreement"]["e:external"], abs=0.03)


def test_a_source_without_votes_has_no_weight(known):
    p, truth = known
    parts = {"matched:knn": blurred(p, 0.05, 1), "e:external": p}
    learned = learn(evidence(parts, GROUPS), truth, GROUPS, list(parts), 0.1)
    learned["weights"] = [0.5, 0.5]
    silent = {**parts, "e:external": np.where((GROUPS == "b")[:, None], 0, p)}
    _, weights = pooled_probabilities(evidence(silent, GROUPS), learned)
    assert list(weights["b"].values()) == [1, 0]
    assert list(weights["a"].values()) == pytest.approx([0.5, 0.5])
    nowhere = evidence({**parts, "e:external": np.zeros_like(p)}, GROUPS)
    learned = json.loads(json.dumps(learn(nowhere, truth, GROUPS, list(parts), 0.1), allow_nan=False))
    assert learned["disagreement"]["e:external"] == 0
    learned = {**learned, "wanted": ["e:external"], "weights": [1.0]}
    assert pooled_probabilities(nowhere, learned)[1]["a"] == {"e:external": 1.0}


def test_a_small_batch_of_a_query_has_the_weights_of_the_whole_query(known):
    p, truth = known
    parts = {"matched:knn": blurred(p, 0.05, 1), "m:knn": p}
    learned = learn(evidence(parts, GROUPS), truth, GROUPS, list(parts), 0.1)
    learned["weights"] = [0.5, 0.5]
    groups = in_batches({"atlas q": 890, "atlas r": 10})
    failed = {**parts, "m:knn": np.where((groups == "atlas r")[:, None], np.roll(p, 1, axis=1), p)}
    _, weights = pooled_probabilities(evidence(failed, groups), learned)
    assert weights["atlas r"]["m:knn"] == pytest.approx(0.5, abs=0.02)
