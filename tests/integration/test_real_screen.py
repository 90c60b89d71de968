"""The screen of a run that trains scvi on real cells."""

import re

import anndata as ad

from conftest import snakemake, write_sheets


def test_a_real_training_has_its_line_on_the_screen(real, tmp_path, monkeypatch):
    cells = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    cells[cells.obs["batch"].astype(str).isin(["107", "1039"])][::2].copy().write_h5ad(tmp_path / "a.h5ad")
    models = {"scvi": {"type": "scvi", "train": {"max_epochs": 80}}}
    rows = [{"dataset": "a", "path": "a.h5ad"}]
    write_sheets(tmp_path, rows, [], models=models, evaluation={"folds": 0}, genes={"n_top": 300})
    monkeypatch.setenv("REFATLAS_PROGRESS_SECONDS", "1")
    screen = snakemake(tmp_path, "--cores", "2", "results/reference/models/scvi/model.pt").stderr
    head = r"\n\d\d:\d\d:\d\d  3 of 4 jobs done\n  scvi, reference: "
    line = head + r"epoch \d+/80, loss [\d,.]+, [\d,]+ cells/s, at most \d+ s left"
    assert re.search(line, screen)
    assert "dataset a: a.h5ad (h5ad file): 463 cells" in screen
    assert not re.search("Finished jobid|Select jobs|Execute 1", screen)
