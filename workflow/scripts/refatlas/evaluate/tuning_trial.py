"""One trial of tuning: a model trained with some settings, mapped to held-out cells, and scored by their labels."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from refatlas.errors import InputError
from refatlas.evaluate.tuning import COLUMNS, DONE, FAILED, REPEATED, scored_cells, scores_of, transferred_labels
from refatlas.models.checkpoints import Checkpoints, open_checkpoints
from refatlas.models.interface import JobContext, Settings, Training
from refatlas.models.search_space import Space, settings_of_trials, with_chosen
from refatlas.models.training import fit_reference, map_to_reference
from refatlas.revisions import revision

if TYPE_CHECKING:
    from anndata import AnnData

# Folder of the checkpoints of the mapping, which ends after that of the training.
MAPPING = ".mapping"


@dataclass(frozen=True)
class TrialJob:
    """What a trial is made with, whatever its settings.

    Attributes:
        settings: of the model in the configuration, as folds train it.
        seed: of the draw of settings, the training and the mapping.
        threads: CPU threads.
        folder: of the trial's results, for checkpoints.
        files: the job's input files.
        seconds: between two checkpoints.
    """

    settings: Settings
    seed: int
    threads: int
    folder: Path
    files: list[str]
    seconds: float


@dataclass
class Trained:
    """What a trial left: its facts, the scored cells (no rows without scores), and its training."""

    facts: dict[str, Any]
    cells: pd.DataFrame
    training: Training


def settings_of_trial(
    number: int, settings: Settings, space: Space, sampler: str, seed: int
) -> tuple[dict[str, Any], int | None]:
    """Return what a trial changes, and the earlier trial that has the same settings, if there is one.

    Args:
        settings: of the model in the configuration, which are those of trial 0.
    """
    if number == 0:
        return {}, None
    drawn = settings_of_trials(space, sampler, number + 1, seed)
    *earlier, own = (with_chosen(settings, chosen) for chosen in drawn)
    return drawn[-1], earlier.index(own) if own in earlier else None


def run_trial(
    number: int,
    chosen: dict[str, Any],
    counts: "AnnData",
    counts_file: str,
    query: "AnnData",
    cells: pd.DataFrame,
    labels: pd.Series,
    k: int,
    job: TrialJob,
) -> Trained:
    """Return a trial of settings. A loss that is not finite makes it a failed one, with the reason, and no error.

    The settings of the configuration are trained as folds train them, with a second attempt at lower learning rates;
    others are not: settings that need it are not worth it.

    Args:
        number: of the trial.
        chosen: settings that differ from those of the configuration.
        counts: of the reference; counts_file: that they were read from.
        query: counts of the held-out cells.
        cells: the held-out cells, with batch and label.
        labels: of the reference's cells.
        k: number of neighbours.
        job: all that does not depend on the settings.
    """
    settings, started = with_chosen(job.settings, chosen), time.monotonic()
    opened: list[Checkpoints] = []

    def context(place: Path) -> JobContext:
        found = open_checkpoints(
            str(place / "model.pt"), settings, job.seed, job.files, revision("run_trial"), job.seconds
        )
        opened.append(found)
        return JobContext(job.seed, job.threads, found)

    training, scores, table, reason = Training(), None, pd.DataFrame(columns=COLUMNS), ""
    try:
        again = number == 0
        model = fit_reference(counts, settings, context(job.folder), counts_file, again=again)
        training = model.training
        mapped = map_to_reference(model, query, settings, context(job.folder / MAPPING), again)
        found = transferred_labels(model, mapped, counts, query, labels, k, job.threads)
        table = scored_cells(found, cells, set(labels.loc[counts.obs_names].dropna()))
        scores = scores_of(table)
    except (FloatingPointError, InputError) as error:
        if not isinstance(error, FloatingPointError) and not isinstance(error.__cause__, FloatingPointError):
            raise
        reason = str(error)
    for checkpoints in opened:
        checkpoints.remove()
    shutil.rmtree(job.folder / MAPPING, ignore_errors=True)
    facts = facts_of_trial(job.settings, chosen, FAILED if reason else DONE, reason)
    cost = {"epochs": len(training.history), "seconds": round(time.monotonic() - started, 1)}
    return Trained({**facts, "scores": scores, **cost, "notes": training.notes}, table, training)


def repeated_trial(settings: Settings, chosen: dict[str, Any], first: int) -> Trained:
    """Return a trial whose settings an earlier one has tried: it is not trained again."""
    facts = facts_of_trial(settings, chosen, REPEATED, f"has the settings of trial {first}")
    return Trained(
        {**facts, "scores": None, "epochs": 0, "seconds": 0.0, "notes": []}, pd.DataFrame(columns=COLUMNS), Training()
    )


def facts_of_trial(settings: Settings, chosen: dict[str, Any], status: str, reason: str) -> dict[str, Any]:
    """Return what is known of a trial without its scores: status, reason, its settings, and those that differ."""
    return {"status": status, "reason": reason, "chosen": chosen, "settings": with_chosen(settings, chosen)}
