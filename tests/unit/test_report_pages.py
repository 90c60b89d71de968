"""The report shows each result under its own name, whatever the order of files, and shows text as text."""

import base64
import hashlib
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from refatlas.config.labels import LEFT_OUT_OF_ATLAS
from refatlas.report.images import embed_png
from refatlas.report.index_page import IndexFiles, index_context, transfer_tables
from refatlas.report.query_figure import MappedCells, plot_query
from refatlas.report.query_page import (
    QueryFiles,
    judged_parts,
    known_context,
    presence_in,
    query_context,
    weights_table,
)
from refatlas.report.query_summary import query_summary
from refatlas.report.reference_page import ReferenceFiles, integration_table, reference_context, table_figures
from refatlas.report.rendering import render
from refatlas.report.security import page_policy
from refatlas.transfer.label_table import label_table

CHECK = {
    "check": "novel",
    "unusual": True,
    "value": 0.2,
    "usual": [None, 0.1],
    "held_out": [0.05],
    "meaning": "many cells are unlike the reference",
    "remedy": "look at the cells of status novel",
}
USUAL = {**CHECK, "check": "depth", "unusual": False, "usual": [-1.0, 1.0]}
ESTIMATE = {"value": 0.8, "low": 0.72, "high": 0.88, "confidence": 0.91}


def judged(verdict: str, reason: str, way_back: float | None = -0.7, novel: float | None = 0.2) -> dict:
    """Return the verdict on a query or a batch."""
    found = {"verdict": verdict, "reason": reason, "n_cells": 3, "estimated_accuracy": ESTIMATE}
    return {**found, "way_back": way_back, "tested": way_back is not None, "novel": novel}


class Folder:
    """Writes small results; each file's content has its own name in it."""

    def __init__(self, folder: Path):
        self.folder = folder

    def json(self, name: str, value: dict) -> str:
        (self.folder / name).write_text(json.dumps(value))
        return str(self.folder / name)

    def png(self, name: str) -> str:
        path = self.folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
        return str(path)

    def csv(self, name: str, table: pd.DataFrame) -> str:
        table.to_csv(self.folder / name, index=False)
        return str(self.folder / name)


VERDICT = judged("warn", "only 80% are right") | {"reasons": [CHECK], "checks": [USUAL, CHECK]}
VERDICT |= {"novelty_not_judged": "", "absent_labels": ["NK"], "limits_from": "fixed limits"}
VERDICT["batches"] = {"q:b1": judged("warn", "only 80% are right"), "q:b2": judged("fail", "all novel", None, 0.95)}
WEIGHTS = {"q:b1": {"matched:knn": 0.7, "m1:knn": 0.3}, "q:b2": {"matched:knn": 1.0, "m1:knn": 0.0}}
PLACE = {"path": "q.h5ad", "n_kept": 3, "gene_overlap": 1.0, "median_counts": 1.0, "median_genes": 1.0}
QUERY_CHECK = {**PLACE, "n_cells": 3, "batches": ["b"], "counts": "X", "padded_genes": [], "notes": ["<i>note</i>"]}
LABELS = pd.DataFrame({"cell": ["1", "2"], "label": "T", "confidence": 0.5, "status": ["assigned", "novel"]})
LABELS = LABELS.assign(m1_label=["T", "B"], m2_label=["T", "T"])


@pytest.fixture
def files(tmp_path) -> QueryFiles:
    """Results of a query on two models."""
    write = Folder(tmp_path)
    mapping = {"epochs": 3, "final_loss": 1.0, "device": "cpu", "seconds": 1.0, "converged": True, "mean_shift": 0.1}
    return QueryFiles(
        check=write.json("check.json", QUERY_CHECK),
        figure=write.png("q umap"),
        mappings={m: write.json(f"{m}_mapping.json", {**mapping, "epochs": f"{m} on q"}) for m in ("m1", "m2")},
        labels=write.csv("labels.csv", LABELS),
        verdict=write.json("verdict.json", VERDICT),
        sources=write.json("sources.json", {"weights": WEIGHTS}),
    )


PRESENCE = pd.DataFrame(
    {"label": ["NK"], "reference_cells": 5, "query_cells": 0, "expected_cells": 2.5, "presence": 0.0, "covered": 0.0}
).assign(state="absent")


def query_html(files: QueryFiles) -> str:
    return render("query.html.j2", query_context("q", files, PRESENCE, "<b>cells</b>"))


@pytest.fixture
def index(tmp_path, files) -> IndexFiles:
    """Results of two queries and one dataset, without folds."""
    write = Folder(tmp_path)
    scan = {"name": "d", "counts": "X", "n_cells": 9, "n_kept": 8, "batches": ["b"], "n_genes": 5}
    scan |= {"median_counts": 100.0, "median_genes": 4.0, "low_quality": {}, "notes": ["<i>note</i>"]}
    genes = pd.DataFrame(
        {"selected": [True, True], "candidate": True, "rank": [1, 2], "reason": "variable", "symbol": ["CD3E", None]},
        index=["g1", "g2"],
    )
    genes.to_parquet(tmp_path / "genes.parquet")
    context = query_context("q", files, PRESENCE, "")
    columns = ["split", "query", "model", "source", "level", "n_cells", "n_seen", "accuracy"]
    provenance = {"workflow": {"version": "0.3.0", "commit": None, "changed": False}, "packages": {"pandas": ["2"]}}
    provenance |= {"seed": 0, "files": {"datasets": {}, "queries": {}}, "rules": []}
    summaries = {
        name: query_summary(name, {**context["check"], "n_cells": n}, context["mappings"], LABELS, VERDICT)
        for name, n in (("q1", 111), ("q2", 222))
    }
    return IndexFiles(
        scans={"d": write.json("scan.json", scan)},
        genes=str(tmp_path / "genes.parquet"),
        queries={name: write.json(f"{name}_summary.json", found) for name, found in summaries.items()},
        folds={},
        calibration=None,
        transfer=write.csv("transfer.csv", pd.DataFrame(columns=columns)),
        transfer_figure=write.png("transfer"),
        provenance=write.json("provenance.json", provenance),
    )


@pytest.fixture
def reference(tmp_path, index) -> ReferenceFiles:
    """Results of two models."""
    write = Folder(tmp_path)
    history = pd.DataFrame({"stage": ["train"] * 2, "seconds": [1.0, 2.0], "cells_per_second": [10.0, 20.0]})
    integration = pd.DataFrame(
        {"model": ["m2", "m2", "m1", "m1"], "metric": ["clisi", "ilisi"] * 2, "value": [0.5, np.nan, 0.7, 0.8]}
    ).assign(half_width=np.nan, failed=[None, "ValueError: x", None, None], n_cells=8, k=5, scib_metrics="0.6.1")
    return ReferenceFiles(
        scans=index.scans,
        models={
            model: {
                "training": write.csv(f"{model}.csv", history if model == "m1" else history.iloc[:0]),
                "training_figure": write.png(f"{model} training"),
                "umap_figure": write.png(f"{model} umap"),
            }
            for model in ("m1", "m2")
        },
        integration=write.csv("integration.csv", integration),
    )


@pytest.fixture
def settings() -> dict:
    models = {"m2": {"type": "scanvi"}, "m1": {"type": "scvi"}}
    return {"models": models, "deliver": {"source": "knn", "model": "m1", "alpha": 0.1}}


def index_html(files: IndexFiles, settings: dict) -> str:
    return render("index.html.j2", index_context(files, settings))


def test_each_model_is_under_its_own_name(reference, settings):
    context = reference_context(reference, settings, "")
    assert [(m["name"], m["type"], m["epochs"]) for m in context["models"]] == [("m1", "scvi", 2), ("m2", "scanvi", "")]
    for model in context["models"]:
        assert model["umap_figure"] == embed_png(reference.models[model["name"]]["umap_figure"])
    page = render("reference.html.j2", {**context, "explorer": "<b>cells</b>"})
    assert page.rstrip().endswith("</html>")
    assert "<b>cells</b>" in page
    assert "ValueError: x" in page


def test_annotation_and_agreement_are_shown_without_clusters(reference, settings, tmp_path):
    write = Folder(tmp_path)
    rounds = [{"round": 1, "time": "now", "by": {"Ann": 2}, "changes": ["a, label x: undecided → T"]}]
    annotation = {"labels": {"T": 8}, "unlabelled": 0, "excluded": 0, "carried": 0, "rounds": rounds}
    paths = {"agreement": "label_agreement.csv", "agreement_figure": write.png("agreement")}
    files = replace(reference, annotation=write.json("annotation.json", annotation), agreement={"m1": paths})
    page = render("reference.html.j2", {**reference_context(files, settings, ""), "explorer": ""})
    for text in ("Clusters and names</a>", "a, label x: undecided → T", "Names of labels in the datasets"):
        assert text in page
    assert "Leiden" not in page
    without = render("reference.html.j2", {**reference_context(reference, settings, ""), "explorer": ""})
    assert "Clusters and names" not in without


def test_a_suggested_resolution_that_is_not_stable_is_marked(reference, settings, tmp_path):
    write = Folder(tmp_path)
    stability = pd.DataFrame({"resolution": [0.5, 1.0], "n_clusters": [2, 4], "stability": [0.6, 0.7]})
    stability = stability.assign(stability_low=0.5, stability_high=0.8, suggested=[False, True])
    clusters = {"resolution": [1.0], "cluster": 0, "n_cells": 8, "n_batches": 1, "top_batch": "d:b"}
    clusters |= {"top_batch_share": 1.0, "median_counts": 9.0, "flags": "", "flag_reasons": ""}
    paths = {
        "stability": write.csv("stability.csv", stability),
        "clusters": write.csv("clusters.csv", pd.DataFrame(clusters)),
        "markers": write.csv("markers.csv", pd.DataFrame(columns=["grouping", "group", "symbol"])),
        "suggestions": write.csv("suggestions.csv", pd.DataFrame(columns=["resolution", "cluster", "rank"])),
        **{kind: write.png(kind) for kind in ("cluster_figure", "dot_plot")},
    }
    files = replace(reference, clusters={"m1": paths})
    page = render("reference.html.j2", {**reference_context(files, settings, ""), "explorer": ""})
    assert page.count("most stable; none is stable") == 1


def test_labels_that_are_numbers_stay_names_in_the_choice_of_a_model(reference, settings, tmp_path):
    write = Folder(tmp_path)
    table = pd.DataFrame({"model": ["m1", "m2"], "n_lost_labels": [1, 1], "lost_labels": ["1", "NA"]})
    choice = (write.csv("models.csv", table), write.png("choice"))
    context = reference_context(replace(reference, choice=choice), settings, "")
    page = render("reference.html.j2", {**context, "explorer": ""})
    assert "<td>1</td>" in page
    assert "<td>NA</td>" in page


def test_the_page_of_a_query_explains_its_terms(files):
    page = query_html(files)
    assert "Mean shift by surgery: how far training on the query moved its cells" in page
    assert "reverse validation" in page
    assert page.count("<td>not tested</td>") == 1
    assert "way back" not in page


def test_the_index_has_each_query_with_its_page(index, settings):
    page = index_html(index, settings)
    assert page.rstrip().endswith("</html>")
    for name, n in (("q1", 111), ("q2", 222)):
        assert f'<a href="queries/{name}.html">{name}</a></td>' in page
        assert f"<td>{n}</td>" in page
    for text in ("CD3E, g2", "&lt;i&gt;note&lt;/i&gt;", "only 80% are right; unusual: novel", "80 % (72 % to 88 %)"):
        assert text in page
    assert "<i>note" not in page


def test_the_index_of_an_atlas_without_labels_says_nothing_of_delivered_ones(index, settings):
    context = index_context(index, settings, [LEFT_OUT_OF_ATLAS], {"name": "plain", "title": "", "version": "1"})
    page = render("index.html.j2", context)
    assert "Left out, because the atlas has no labels" in page
    assert "The delivered labels" not in page


def test_the_index_says_which_held_out_batches_chose_settings(index, settings, tmp_path):
    fold = {"held_out": ["a"], "simulated": False, "hidden": None, "n_cells": {"held_out": 5}}
    calibration = {
        "evidence": {"n_cells": 5, "batches": ["b"], "simulated": False, "folds": ["fold_2"]},
        "wanted": ["m1:knn"],
    }
    calibration |= {"weights": [1.0], "candidates": {"m1:knn": 0.1}, "delivered": {"method": "temperature"}}
    calibration["novelty"] = {"hidden": [], "judged": "", "measures": [], "weights": {"batch": [], "label": []}}
    write = Folder(tmp_path)
    index = replace(
        index,
        folds={"fold_1": write.json("fold_1.json", fold)},
        calibration=write.json("calibration.json", calibration),
    )
    assert "settings of m1" not in index_html(index, settings)
    evaluation = {"folds": 2, "unit": "batch", "hide": []}
    page = index_html(index, {**settings, "evaluation": evaluation, "tune": {"m1": {}}})
    assert "On the batches of fold_1, settings of m1 were chosen" in page


def test_two_hundred_queries_are_below_a_megabyte(index, settings):
    page = index_html(replace(index, queries={str(i): index.queries["q1"] for i in range(200)}), settings)
    assert page.count('href="queries/q1.html"') == 200
    assert len(page.encode()) < 1_000_000


def test_the_page_of_a_query_is_complete_and_shows_text_as_text(files):
    page = query_html(files)
    assert page.rstrip().endswith("</html>")
    assert "&lt;i&gt;note&lt;/i&gt;" in page
    assert "<i>note" not in page
    for text in ("m2 on q", CHECK["meaning"], CHECK["remedy"], "at most 0.1", "-1.0 to 1.0", "<b>cells</b>", "absent"):
        assert text in page
    assert embed_png(files.figure) in page


def test_the_page_shows_verdict_and_estimate_of_each_batch(files):
    context = query_context("q", files, PRESENCE, "")
    assert [part["name"] for part in context["parts"]] == ["all cells", "q:b1", "q:b2"]
    page = render("query.html.j2", context)
    assert page.count('<span class="badge fail">') == 1
    for text in ("Only 80% are right.", "80 %", "72 % to 88 %", "0.910", "0.50", "95 %", "all novel"):
        assert text in page


def test_novelty_that_cannot_be_judged_is_no_share(files):
    verdict = VERDICT | {"novel": None, "novelty_not_judged": "the reference has a single batch"}
    Path(files.verdict).write_text(json.dumps(verdict))
    page = query_html(files)
    assert "No cell is called novel: the reference has a single batch." in page
    assert "<td>not judged</td>" in page


def test_the_page_begins_with_what_to_distrust(files, tmp_path):
    write = Folder(tmp_path)
    rows = [("q:1", "matched:knn", "B"), ("q:2", "matched:knn", "T"), ("q:1", "m1:knn", "T"), ("q:2", "m1:knn", "B")]
    pd.DataFrame(rows, columns=["cell", "source", "label"]).to_parquet(tmp_path / "sources.parquet")
    cells = pd.DataFrame({"batch": ["q:b1", "q:b2"]}, index=pd.Index(["q:1", "q:2"], name="cell"))
    cells.to_parquet(tmp_path / "cells.parquet")
    group = {"group": 1, "n_cells": 20, "share_of_query": 0.2, "n_batches": 1, "label": "T", "novelty": 0.99}
    groups = pd.DataFrame([group]).assign(markers="CD3E", suggestion="", sure="")
    novel = {
        "novel_groups": write.csv("novel_groups.csv", groups),
        "novel_cells": write.csv("novel_cells.csv", pd.DataFrame({"cell": ["2"], "group": [1]})),
        "novel_figure": write.png("novel"),
    }
    paths = {name: str(tmp_path / f"{name}.parquet") for name in ("sources", "cells")}
    files = replace(files, source_labels=paths["sources"], cells=paths["cells"], novel=novel)
    context = query_context("q", files, PRESENCE, "")
    assert [row["to"] for row in context["findings"]] == ["batches", "novel", "absent", "disagreement"]
    page = render("query.html.j2", context)
    for row in context["findings"]:
        assert f'href="#{row["to"]}"' in page
        assert f'id="{row["to"]}"' in page
    for text in (
        "1 of 2 batches have the verdict fail: q:b2",
        "20 near T",
        "T (100 %)",
        "sources disagree on T (35 % ",
    ):
        assert text in page
    assert page.index("What to distrust, first") < page.index("Groups of novel cells") < page.index('id="explore"')


def test_pictures_have_few_colours_and_white_stays_white(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (90, 90, 4), dtype=np.uint8)
    pixels[:40], pixels[:40, :, 3] = 255, 0
    Image.fromarray(pixels, "RGBA").save(tmp_path / "p.png")
    url = embed_png(tmp_path / "p.png")
    small = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert small.mode == "P"
    assert small.convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    (tmp_path / "no.png").write_bytes(b"no picture")
    assert base64.b64decode(embed_png(tmp_path / "no.png").split(",")[1]) == b"no picture"


def test_the_page_of_a_query_without_labels(files):
    files = replace(files, labels=None, verdict=None, sources=None)
    page = render("query.html.j2", query_context("q", files, None, "<b>cells</b>"))
    assert "<b>cells</b>" in page
    assert "What to distrust" not in page


def test_a_page_may_run_its_own_script_alone(files):
    page = query_html(files)
    assert "default-src &#39;none&#39;" in page
    for tag in ("script", "style"):
        contents = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(contents) == 2
        for text in contents:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"sha256-{digest}" in html.unescape(page)
    assert not re.search(r"\son\w+=|\sstyle=", re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL))
    assert "script-src 'none'" in page_policy(["a"], [])


def test_confusion_has_right_labels_on_its_diagonal(tmp_path):
    write = Folder(tmp_path)
    rows = [
        ("delivered", "B", "B", 9),
        ("delivered", "B", "A", 1),
        ("delivered", "mast", "A", 4),
        ("scvi", "B", "A", 7),
    ]
    confusion = pd.DataFrame(rows, columns=["model", "truth", "label", "n_cells"]).assign(level=1)
    scores = pd.DataFrame({"model": ["delivered"] * 2, "batch": ["all", "b"], "accuracy": [0.9, 0.8]})
    found = known_context(write.csv("scores.csv", scores), write.csv("confusion.csv", confusion))
    assert found["heads"] == [["B"], ["A"]]
    assert [(row["truth"], row["n"]) for row in found["rows"]] == [("B", 10), ("mast", 4)]
    assert found["rows"][0]["cells"] == [{"n": 9, "shade": 4, "right": True}, {"n": 1, "shade": 2, "right": False}]
    assert [row["accuracy"] for row in found["scores"]] == [0.9]


def test_presence_leaves_novel_cells_out():
    random = np.random.default_rng(0)
    space = np.vstack([random.normal(0, 1, (60, 2)), random.normal(9, 1, (60, 2))])
    background = pd.DataFrame(space, columns=["latent_1", "latent_2"]).assign(label=["A"] * 60 + ["B"] * 60, weight=1.0)
    names = pd.Index([f"q:{i}" for i in range(40)])
    latent = pd.DataFrame(random.normal(0, 1, (40, 2)), index=names)
    latent.iloc[30:] += 9
    obs = pd.DataFrame({"label": ["A"] * 30 + ["B"] * 10, "status": ["assigned"] * 30 + ["novel"] * 10})
    found, labels = presence_in(background, latent, obs, names)
    assert found[:60].mean() > 0.5
    assert found[60:].max() == 0
    assert labels.set_index("label")["query_cells"].to_dict() == {"A": 30, "B": 0}
    assert presence_in(background.drop(columns="label"), latent, obs, names)[1] is None


def test_a_query_with_one_batch_has_one_verdict():
    parts = judged_parts(judged("pass", "x", None) | {"batches": {"q:b": judged("pass", "x")}})
    assert [(part["name"], part["way_back"]) for part in parts] == [("all cells", None)]


def test_sources_without_weight_are_left_out():
    found = weights_table({"q:a b": {"matched:knn": 1.0, "m:knn": 0.0}, "q:c": {"matched:knn": 1, "m:knn": 0}})
    assert found == {"matched:knn": {"q:a b": 1.0, "q:c": 1}}
    assert weights_table({}) == {}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("knn", "The delivered labels are those of m1, source knn. They are not calibrated"),
        ("matched", "The delivered labels are those of the matched baseline. They are not calibrated"),
    ],
)
def test_the_index_names_the_delivered_source(index, settings, source, text):
    assert text in index_html(index, {**settings, "deliver": {**settings["deliver"], "source": source}})


def test_the_index_of_folds_names_weights_and_hidden_labels(index, settings, tmp_path):
    write = Folder(tmp_path)
    fold = {"simulated": False, "held_out": ["d:b1"], "hidden": "T", "n_cells": {"held_out": 7}}
    evidence = {"n_cells": 7, "batches": ["d:b1"], "simulated": False, "folds": ["fold_1"]}
    novelty = {"measures": ["energy"], "weights": {"batch": [0.41], "label": [0.52]}, "hidden": ["T"], "judged": True}
    calibration = {"wanted": ["m1:knn", "m2:knn"], "weights": [0.25, 0.001], "evidence": evidence, "novelty": novelty}
    calibration |= {"candidates": {"balanced": 0.3, "learned": 0.2, "m1:knn": 0.4, "m2:knn": 0.6}}
    calibration |= {"delivered": {"method": "biases"}}
    files = replace(
        index,
        folds={"fold_1": write.json("fold.json", fold)},
        calibration=write.json("calibration.json", calibration),
    )
    page = index_html(files, {**settings, "deliver": {"source": "all", "model": "m1", "alpha": 0.15}})
    assert "d:b1; label T is hidden from the reference (7 cells)" in page
    assert "<td>m1 knn</td><td>0.400</td><td>0.25</td>" in page
    assert "<td>all sources, learned weights</td><td>0.200</td>" in page
    assert "<td>half matched baseline, half models</td><td>0.300</td>" in page
    assert "by a temperature and a bias for each label" in page
    assert "calibrated on 7 held-out cells of 1 batch." in page
    assert "one at a time, from the matched baseline: T." in page
    assert "<td>energy</td><td>0.41</td><td>0.52</td>" in page


@pytest.mark.parametrize("known", [False, True])
def test_panels_of_a_query_have_the_same_size(known):
    cells = pd.Index([f"q:{i}" for i in range(6)], name="cell")
    umap = np.random.default_rng(0).normal(size=(6, 2))
    labels = label_table(cells, "knn", ["A", "B"], np.full((6, 2), 0.5))
    table = (
        pd.DataFrame({"label": ["A", "a much longer label"] * 3}, index=cells) if known else pd.DataFrame(index=cells)
    )
    figure = plot_query("q", {"m": MappedCells(umap, pd.DataFrame(umap, index=cells), labels)}, table)
    figure.canvas.draw()
    sizes = [ax.get_window_extent().size for ax in figure.axes]
    assert len(sizes) == (3 if known else 2)
    assert np.ptp(sizes, axis=0) == pytest.approx(0, abs=0.1)


def test_scores_are_titled_by_fold_and_those_of_queries_are_elsewhere():
    rows = [("folds", "all held-out batches"), ("fold_1", "heldout"), ("atlas", "fold_1"), ("atlas", "q")]
    scores = pd.DataFrame(rows, columns=["split", "query"]).assign(accuracy=[0.5, np.nan, 0.1, 0.2])
    found = transfer_tables(scores, ["fold_1"])
    assert [title for title, _ in found] == ["all held-out batches", "fold_1"]
    assert found[1][1][0]["accuracy"] is None


def test_metrics_that_failed_have_their_reason(reference):
    found = integration_table(pd.read_csv(reference.integration))
    assert found["metrics"] == ["clisi", "ilisi"]
    assert [row["model"] for row in found["rows"]] == ["m2", "m1"]
    assert found["rows"][0]["values"]["ilisi"] == {"value": None, "half_width": None, "failed": "ValueError: x"}
    assert (found["n_cells"], found["k"], found["version"]) == (8, 5, "0.6.1")


def test_figures_of_tables_are_titled_by_model(reference, files, tmp_path):
    write = Folder(tmp_path)
    for name in ("tables/gene_programs", "mapped/scores"):
        write.png(name)
    own = {**reference.models["m2"], "tables": str(tmp_path / "tables"), "tree": write.png("t")}
    found = table_figures(replace(reference, models={**reference.models, "m2": own}))
    assert [title for title, _ in found] == ["m2: gene programs", "m2: tree of labels"]
    mapped = query_context("q", replace(files, tables={"m2": str(tmp_path / "mapped")}), PRESENCE, "")
    assert [title for title, _ in mapped["tables"]] == ["m2: scores"]
