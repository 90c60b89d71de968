"""The model card of an atlas bundle, as Markdown: measured figures, what it is meant for, and its limits."""

from collections.abc import Iterable, Mapping
from typing import Any

from refatlas.bundle.facts import CRITICISM
from refatlas.bundle.manifest import Manifest

# By the setting bundle.counts.
COUNTS = {
    "simulated": "none: queries are compared with counts that were simulated, each from the profile of five cells",
    "sample": "of a sample of cells (20,000 at most of the datasets), which queries are compared with; selected genes",
    "all": "of all cells, selected genes",
}
NOT_MEASURED = "Not measured: the atlas was made without held-out folds."


def model_card(manifest: Manifest) -> str:
    """Return the model card of a bundle.

    Args:
        manifest: of the bundle, with its facts.
    """
    facts = manifest["facts"]
    sections = [
        f"# {manifest['title'] or manifest['name']}",
        manifest["description"],
        _summary(manifest),
        *_intended(manifest),
        "## Labels of held-out cells",
        *_held_out(facts),
        *_weak(facts),
        *_table("## F1 of each label in held-out batches", ("label", "F1"), facts.get("f1_by_label", {})),
        *_hidden(facts),
        *_integration(facts),
        *_criticism(facts),
        *_not_in_here(manifest),
        *_table("## Cells by dataset", ("dataset", "cells"), facts["cells_by_dataset"]),
        *_table("## Cells by batch", ("batch", "cells"), facts["cells_by_batch"]),
        *_table("## Cells by label", ("label", "cells"), facts.get("cells_by_label", {})),
        *_citation(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _summary(manifest: Manifest) -> str:
    models = ", ".join(f"{name} ({kind})" for name, kind in manifest["models"].items())
    facts = manifest["facts"]
    rows = {
        "name and version": f"{manifest['name']} {manifest['version']}",
        "made by": f"refatlas {manifest['refatlas']}, bundle format {manifest['format']}",
        "authors": ", ".join(a if isinstance(a, str) else str(a.get("name")) for a in manifest["authors"]),
        "licence": manifest["license"] or "none given: ask the authors before you use or share it",
        "cells": f"{facts['cells']:,}",
        "datasets, batches": f"{len(facts['cells_by_dataset'])}, {len(facts['cells_by_batch'])}",
        "genes": f"{manifest['genes']:,}",
        "labels": f"{len(facts.get('cells_by_label', {}))} at the finest of {manifest['labels']['levels']} levels",
        "models": models,
        "counts of single cells": COUNTS[manifest["counts"]],
    }
    if manifest.get("grown"):
        rows["grown"] = "; ".join(f"{g['query']}: {g['cells']:,} cells" for g in manifest["grown"])
    return _rows(("", ""), {name: value for name, value in rows.items() if value})


def _intended(about: Manifest) -> Iterable[str]:
    yield "## Intended use"
    yield about["intended_use"] or "The authors have not said."
    yield "## What it is not good for"
    yield about["not_for"] or "The authors have not said. See the limits below."


def _held_out(facts: Mapping[str, Any]) -> Iterable[str]:
    found = facts.get("delivered")
    if not found:
        yield NOT_MEASURED
        return
    rows = {
        name: _with_interval(found, key)
        for name, key in (("accuracy", "accuracy"), ("macro-F1", "macro_f1"), ("expected calibration error", "ece"))
    }
    yield (
        "Each fold holds out batches, trains without them, and maps them as a query. Means over"
        f" {found['n_batches']:.0f} held-out batches, with the 95 % interval over batches. They tell of batches"
        " like those of this atlas; a query from elsewhere gets an estimate of its own in its verdict."
    )
    yield _rows(("delivered labels", ""), rows)
    yield _rows(
        ("source", "accuracy, macro-F1"),
        {name: f"{_text(s['accuracy'])}, {_text(s['macro_f1'])}" for name, s in facts["sources"].items()},
    )


def _with_interval(found: Mapping[str, Any], key: str) -> str:
    ends = [found.get(f"{key}_{end}") for end in ("low", "high")]
    return _text(found[key]) + (f" ({_text(ends[0])} to {_text(ends[1])})" if None not in ends else "")


def _text(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _weak(facts: Mapping[str, Any]) -> Iterable[str]:
    if facts.get("weak_labels"):
        yield from _table("## Labels to be careful with", ("label", "why"), facts["weak_labels"])


def _hidden(facts: Mapping[str, Any]) -> Iterable[str]:
    yield "## Types that the atlas lacks"
    if not facts.get("hidden"):
        yield (
            "No label was hidden from the models (evaluation.hide), so how well they tell cells of unknown types was"
            " not measured."
        )
        return
    yield "A label was hidden from all models in a fold of its own, and its cells were mapped. AUROC of their novelty:"
    yield _rows(("fold", "AUROC"), {name: _text(value) for name, value in facts["hidden"].items()})


def _integration(facts: Mapping[str, Any]) -> Iterable[str]:
    scores = facts["integration"]
    metrics = list(dict.fromkeys(metric for found in scores.values() for metric in found))
    if not metrics:
        return
    yield "## Integration (scib-metrics)"
    lines = ["| metric | " + " | ".join(scores) + " |", "|---" * (len(scores) + 1) + "|"]
    for metric in metrics:
        values = [_text(found.get(metric)) for found in scores.values()]
        lines.append(f"| {metric} | " + " | ".join(values) + " |")
    yield "\n".join(lines)


def _criticism(facts: Mapping[str, Any]) -> Iterable[str]:
    for model, found in facts.get("criticism", {}).items():
        yield f"## Posterior predictive checks of {model}"
        yield (
            "Counts that the model draws for cells, against the counts of these cells: of training cells, and of cells"
            " that folds held out and mapped. No value is good by itself; queries are compared with held-out batches."
        )
        lines = ["| measure | training cells | held-out batches |", "|---|---|---|"]
        lines += [
            f"| {_cell(CRITICISM[name])} | {_text(row['training'])} | {_range(row)} |" for name, row in found.items()
        ]
        yield "\n".join(lines)


def _range(row: Mapping[str, Any]) -> str:
    if row["held_out"] is None:
        return "not measured"
    low, high, n = row["held_out"]
    return f"{_text(low)} to {_text(high)} ({n} batch{'es' if n != 1 else ''})"


def _not_in_here(manifest: Manifest) -> Iterable[str]:
    yield "## Not measured"
    yield (
        ("Q" if manifest["facts"].get("criticism") else "Posterior predictive checks, and q")
        + "ueries of other laboratories, species or technologies than those of the"
        " batches above." + (" The figures above were measured before it was grown." if manifest.get("grown") else "")
    )


def _citation(about: Manifest) -> Iterable[str]:
    if about["citation"]:
        yield "## Citation"
        yield about["citation"]


def _table(title: str, header: tuple[str, str], values: Mapping[str, Any]) -> list[str]:
    """Return a title and a table; nothing without values."""
    shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in values.items()}
    shown = {name: _text(value) if isinstance(value, float) else value for name, value in shown.items()}
    return [title, _rows(header, shown)] if shown else []


def _rows(header: tuple[str, str], rows: Mapping[str, Any]) -> str:
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join([f"| {header[0]} | {header[1]} |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    """Return a text as a cell of a Markdown table."""
    return str(value).replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
