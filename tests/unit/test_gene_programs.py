"""Gene programs from GMT files, and which genes of a reference are in them; answers by hand."""

import pytest

from refatlas.config.settings import complete_config
from refatlas.errors import InputError
from refatlas.models.gene_programs import BUNDLED, program_mask, read_gmt

BASE = {"reference": "reference.tsv", "queries": "queries.tsv"}


def gmt(folder, text: str):
    path = folder / "programs.gmt"
    path.write_text(text)
    return path


def test_programs_are_read_in_capitals_and_empty_lines_and_fields_are_skipped(tmp_path):
    assert read_gmt(gmt(tmp_path, "A\tlink\tG1\tg2\t\n\nB\t\tG3\n")) == {"A": {"G1", "G2"}, "B": {"G3"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"programs.gmt has no program"),
        ("A\tlink\tG1\nA\tlink\tG2\n", r"line 2: program 'A' appears twice"),
        ("A\tlink\n", r"line 1: 'A\\tlink' has no gene; a GMT line is name, description and genes, separated by tabs"),
        ("A,link,G1\n", r"line 1: 'A,link,G1' has no gene"),
    ],
)
def test_mistakes_in_a_gmt_file(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_gmt(gmt(tmp_path, text))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "x.gmt").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(InputError, match=r"x\.gmt is not a text file"):
        read_gmt(tmp_path / "x.gmt")


def test_mask_holds_programs_with_enough_genes():
    names, mask = program_mask({"few": {"G1", "X"}, "enough": {"G1", "G3"}}, ["g1", "G2", "G3"], 2, "p.gmt")
    assert names == ["enough"]
    assert mask.tolist() == [[True, False, True]]


def test_programs_without_enough_genes_are_refused_with_the_largest_overlap():
    with pytest.raises(
        InputError,
        match=(
            r"p\.gmt: no program has 2 of the reference's 3 genes; the largest overlap is 1, of b\."
            r" Its genes are G3, Z, those of the reference G1"
        ),
    ):
        program_mask({"a": {"X"}, "b": {"G3", "Z"}}, ["G1", "G2", "G3"], 2, "p.gmt")


def test_the_bundled_programs_are_complete():
    programs = read_gmt(BUNDLED)
    assert all(20 <= len(genes) <= 250 for genes in programs.values())
    assert "ISG15" in programs["REACTOME_INTERFERON_ALPHA_BETA_SIGNALING"]
    assert BUNDLED.stat().st_size < 300_000


def test_a_gmt_file_that_is_not_there_is_named_with_its_key():
    with pytest.raises(InputError, match=r"config: models: e: model: gmt: no file 'gone\.gmt'"):
        complete_config({**BASE, "models": {"e": {"type": "expimap", "model": {"gmt": "gone.gmt"}}}})
