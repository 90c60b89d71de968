"""Tables of marker genes are read, checked, and matched to the genes of a reference."""

import pandas as pd
import pytest

from refatlas.annotate.marker_sets import BUNDLED, match_marker_sets, read_marker_sets
from refatlas.errors import InputError


def written(folder, text: str, name: str = "markers.tsv"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def reference(symbols: list[str], ids: list[str | None] | None = None) -> pd.DataFrame:
    ids = ids or [None] * len(symbols)
    keys = [i or s for i, s in zip(ids, symbols, strict=True)]
    return pd.DataFrame({"gene_id": ids, "symbol": symbols}, index=pd.Index(keys, name="gene"), dtype=object)


def as_rows(sets: pd.DataFrame) -> list[tuple]:
    return list(sets[["label", "gene", "absent"]].itertuples(index=False, name=None))


def test_gmt_has_a_label_a_description_and_genes(tmp_path):
    path = written(tmp_path, "# mine\nB cell\tfrom a book\tCD79A\tMS4A1\t-CD3D\n\nT cell\t\tCD3D\t\n", "markers.gmt")
    assert as_rows(read_marker_sets(path)) == [
        *(("B cell", "CD79A", False), ("B cell", "MS4A1", False), ("B cell", "CD3D", True)),
        ("T cell", "CD3D", False),
    ]


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
def test_table_has_a_gene_in_each_row(tmp_path, mark):
    lines = ["Gene,note,Label,direction", "CD79A,x,B cell,", "CD3D,,B cell,absent", "-CD14,,B cell,present"]
    path = written(tmp_path, "\n".join(lines).replace(",", mark))
    assert as_rows(read_marker_sets(path)) == [
        *(("B cell", "CD79A", False), ("B cell", "CD3D", True), ("B cell", "CD14", True))
    ]


def test_a_gene_that_is_given_twice_counts_once(tmp_path):
    assert len(read_marker_sets(written(tmp_path, "label\tgene\nB\tCD79A\nB\tCD79A\n"))) == 1


def test_tissues_take_their_own_types_those_of_any_and_those_without(tmp_path):
    rows = ["label,gene,tissue", "beta,INS,pancreas", "B,CD79A,any", "hepatocyte,ALB,liver", "fibroblast,DCN,"]
    path = written(tmp_path, "\n".join([*rows, 'duct,KRT19,"Pancreas, liver"']))
    assert list(read_marker_sets(path, ["Pancreas"])["label"]) == ["beta", "B", "fibroblast", "duct"]
    assert list(read_marker_sets(path, ["liver"])["label"]) == ["B", "hepatocyte", "fibroblast", "duct"]


def test_bundled_table_is_complete():
    sets = read_marker_sets(None)
    n_present = sets[~sets["absent"]].groupby("label").size()
    assert len(n_present) >= 50
    assert n_present.between(5, 12).all()
    blood = set(read_marker_sets(None, ["blood"])["label"])
    assert {"CD4 T cell", "CD8 T cell", "NK cell", "B cell", "CD14+ monocyte"} <= blood
    assert not {"beta cell", "macrophage", "hepatocyte"} & blood
    assert len(sets.drop_duplicates(["label", "gene"])) == len(sets)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.gmt", "", "has no marker genes"),
        ("m.tsv", "", "has no marker genes"),
        ("m.tsv", "label\tgene\n", "has no marker genes"),
        ("m.gmt", "B cell\tCD79A\n", "line 1: .*has no gene; a GMT line is label, description and genes"),
        ("m.gmt", "B\t\tCD79A\nB\t\tMS4A1\n", "line 2: label 'B' appears twice"),
        ("m.gmt", "B\t\tCD79A\t-CD79A\n", "line 1: gene 'CD79A' of 'B' is both present and absent"),
        ("m.gmt", "B\t\tCD79A\nT\t\t-CD79A\n", "'T' has only genes that must be absent"),
        ("m.csv", "type,gene\nB,CD79A\n", "line 1: the columns are type, gene"),
        ("m.csv", "# mine\n\ntype,gene\nB,CD79A\n", "line 3: the columns are"),
        ("m.csv", "label,gene\nB,CD79A\n,MS4A1\n", "line 3: the label is empty"),
        ("m.csv", "label,gene\nB\n", "line 2: the gene is empty"),
        ("m.tsv", "label\tgene\nB\tCD79A, MS4A1\n", "line 2: 'CD79A, MS4A1' is not the name of one gene"),
        ("m.csv", "label,gene,direction\nB,CD79A,high\n", "line 2: direction 'high' is unknown; use .*present"),
        ("m.csv", 'label,gene\nB,"CD79A\nMS4A1"\n', "line break"),
        ("m.csv", f"label,gene\nB,{'x' * 200_000}\n", "is no table"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        read_marker_sets(written(tmp_path, text, name))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "m.tsv").write_bytes(b"label\tgene\n\xff\xfe")
    with pytest.raises(InputError, match="byte 11 is not valid UTF-8"):
        read_marker_sets(tmp_path / "m.tsv")
    with pytest.raises(InputError, match="cannot be read"):
        read_marker_sets(tmp_path / "none.tsv")


def test_unknown_tissues_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"'blod' is not in .*; it has any, blood, brain"):
        read_marker_sets(None, ["blod"])
    with pytest.raises(InputError, match="has no tissues; add a column tissue"):
        read_marker_sets(written(tmp_path, "label,gene\nB,CD79A\n"), ["blood"])


def test_genes_are_matched_by_symbol_or_ensembl_id(tmp_path):
    sets = read_marker_sets(written(tmp_path, "label,gene\nB,CD79A\nB,ENSG00000156738.19\nB,CD19\nB,cd22\n"))
    genes = reference(["CD79A", "MS4A1", "CD22"], ["ENSG00000105369", "ENSG00000156738", None])
    matched, note = match_marker_sets(sets, genes, "markers.csv")
    assert list(matched["key"].fillna("")) == ["ENSG00000105369", "ENSG00000156738", "", ""]
    assert note == "2 of 4 marker genes of 1 labels found"


def test_capitals_do_not_count_for_genes_of_mice():
    matched, note = match_marker_sets(read_marker_sets(None), reference(["Cd79a", "Ms4a1", "Gm1234", "Cd3d"]), None)
    assert set(matched["key"].dropna()) == {"Cd79a", "Ms4a1", "Cd3d"}
    assert "3 of" in note
    assert "look like those of mice" in note


def test_a_table_of_mouse_genes_is_matched_as_written(tmp_path):
    sets = read_marker_sets(written(tmp_path, "label,gene\nB,Cd79a\nB,Ms4a1\n"))
    matched, note = match_marker_sets(sets, reference(["Cd79a", "MS4A1", "Cd3d"]), "m.csv")
    assert list(matched["key"].fillna("")) == ["Cd79a", ""]
    assert "mice" not in note


def test_a_label_without_genes_is_noted(tmp_path):
    sets = read_marker_sets(written(tmp_path, "label,gene\nB,CD79A\nT,CD3D\n"))
    assert match_marker_sets(sets, reference(["CD79A"]), "m.csv").note.endswith("labels without any of their genes: T")


def test_a_table_without_genes_of_the_reference_is_refused(tmp_path):
    sets = read_marker_sets(written(tmp_path, "label,gene\nB,CD79A\nB,-x1\n"))
    with pytest.raises(
        InputError, match=r"m.csv: none of its 2 genes .* CD79A, x1, those of the reference x1, ENSG1 \(a\)"
    ):
        match_marker_sets(sets, reference(["x1", "a"], [None, "ENSG1"]), "m.csv")


def test_a_query_may_lack_all_genes_of_a_table(tmp_path):
    sets = read_marker_sets(written(tmp_path, "label,gene\nB,CD79A\nB,-x1\n"))
    matched, note = match_marker_sets(sets, reference(["a"]), "m.csv", "query")
    assert matched["key"].isna().all()
    assert note == "none of 2 marker genes of 1 labels is in the query; they suggest no names"


def test_the_bundled_table_need_not_fit():
    matched, note = match_marker_sets(read_marker_sets(None), reference(["x1"]), None)
    assert matched["key"].isna().all()
    assert note.startswith("none of ")
    assert BUNDLED.exists()
