"""Gene programs, their use in a reference, and what compares cells by them; answers by hand."""

import numpy as np
import pandas as pd
import pytest

from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.models.expimap import compared, enrichment
from refatlas.models.gene_programs import BUNDLED, program_mask, read_gmt

BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}


def gmt(folder, text: str):
    path = folder / "programs.gmt"
    path.write_text(text)
    return path


def test_programs_are_read_in_capitals_and_empty_lines_and_fields_are_skipped(tmp_path):
    assert read_gmt(gmt(tmp_path, "A\tlink\tG1\tg2\t\n\nB\t\tG3\n")) == {"A": {"G1", "G2"}, "B": {"G3"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"programs.gmt has no program"),
        ("A\tlink\tG1\nA\tlink\tG2\n", r"line 2: program 'A' stands twice"),
        ("A\tlink\n", r"line 1: 'A\\tlink' has no gene; a GMT line is name, description and genes, separated by tabs"),
        ("A,link,G1\n", r"line 1: 'A,link,G1' has no gene"),
    ],
)
def test_mistakes_in_a_gmt_file(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_gmt(gmt(tmp_path, text))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x.gmt").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(InputError, match=r"x\.gmt is no text"):
        read_gmt(tmp_path / "x.gmt")


def test_mask_holds_programs_with_enough_genes():
    names, mask = program_mask({"few": {"G1", "X"}, "enough": {"G1", "G3"}}, ["g1", "G2", "G3"], 2, "p.gmt")
    assert names == ["enough"]
    assert mask.tolist() == [[True, False, True]]


def test_programs_without_enough_genes_are_refused_with_the_fullest_named():
    with pytest.raises(
        InputError,
        match=(
            r"p\.gmt: no program has 2 of the reference's 3 genes; the fullest, b, has 1\. Genes there are such as G3,"
            r" Z.*in the reference such as G1"
        ),
    ):
        program_mask({"a": {"X"}, "b": {"G3", "Z"}}, ["G1", "G2", "G3"], 2, "p.gmt")


def test_the_bundled_programs_are_whole():
    programs = read_gmt(BUNDLED)
    assert all(20 <= len(genes) <= 250 for genes in programs.values())
    assert "ISG15" in programs["REACTOME_INTERFERON_ALPHA_BETA_SIGNALING"]
    assert BUNDLED.stat().st_size < 300_000


def test_a_gmt_file_that_is_not_there_is_named_with_its_key():
    with pytest.raises(InputError, match=r"config: models: e: model: gmt: no file 'gone\.gmt'"):
        complete_config({**BASE, "models": {"e": {"type": "expimap", "model": {"gmt": "gone.gmt"}}}})


def test_enrichment_is_even_for_equal_cells_and_sure_for_distant_ones():
    cells = [np.array([[5.0, 0.0, -5.0]]), np.full((1, 3), 0.5)]
    others = [np.zeros((1, 3)), np.full((1, 3), 0.5)]
    table = enrichment(cells, others, np.array(["up", "same", "down"])).set_index("program")
    assert table["probability"].to_dict() == pytest.approx({"up": 1, "same": 0.5, "down": 0}, abs=1e-6)
    assert table.loc["same", "bayes_factor"] == pytest.approx(0)
    assert table.loc["up", "bayes_factor"] == pytest.approx(-table.loc["down", "bayes_factor"], rel=1e-3)
    assert table.index[-1] == "same"


def frame(**columns):
    from anndata import AnnData

    return AnnData(obs=pd.DataFrame(columns, index=[f"c{i}" for i in range(len(columns["batch"]))]))


def test_a_reference_is_compared_by_labels_and_batches_and_a_query_with_the_reference():
    reference = frame(batch=["a", "a", "b"], label=["T", None, "B"])
    found = [(by, group, cells.sum(), rest.sum()) for by, group, cells, rest in compared(reference)]
    assert found == [("label", "T", 1, 2), ("label", "B", 1, 2), ("batch", "a", 2, 1), ("batch", "b", 1, 2)]
    query = frame(batch=["q1", "q2"])
    assert [(by, group, cells.sum(), rest.sum()) for by, group, cells, rest in compared(query, reference)] == [
        ("query", "all", 2, 3),
        ("batch", "q1", 1, 3),
        ("batch", "q2", 1, 3),
    ]
    assert [group for _, group, *_ in compared(frame(batch=["only"]))] == []
