"""T-cell receptors read from tables, cell columns and obsm: primary chains, statuses, barcodes, and what is refused."""

import gzip
import shutil
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from refatlas.errors import InputError
from refatlas.receptors.airr_files import core_of, read_chains, read_stored_chains
from refatlas.receptors.reading import read_receptors
from refatlas.receptors.sequences import require_same_form, with_cysteine

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
COLUMNS = {"alpha": "a", "beta": "b", "alpha_v": "av", "beta_v": None}
NONE = dict.fromkeys(COLUMNS)
BARCODES = ("AAACCTGAGAAACCAT-1", "AAACCTGAGAAACCGC-1", "AAACCTGAGAAACCTA-1", "AAACCTGAGAAACGAG-1")


def contig(barcode: str, locus: str, cdr3: str, umis: int = 3, productive: str = "True") -> dict:
    """Return one row of Cell Ranger's contig annotations."""
    return {
        "barcode": barcode,
        "is_cell": "True",
        "contig_id": f"{barcode}_{cdr3}",
        "high_confidence": "True",
        "length": 500,
        "chain": locus,
        "v_gene": f"{locus}V1",
        "d_gene": "None",
        "j_gene": f"{locus}J1",
        "c_gene": f"{locus}C",
        "full_length": "True",
        "productive": productive,
        "cdr3": cdr3,
        "cdr3_nt": "TGT" * len(cdr3),
        "reads": 10 * umis,
        "umis": umis,
        "raw_clonotype_id": "clonotype1",
        "raw_consensus_id": "consensus1",
    }


CONTIGS = [
    # Two beta chains: the one with more UMIs is the primary one.
    contig(BARCODES[0], "TRA", "CAVF"),
    contig(BARCODES[0], "TRB", "CASSLF", umis=2),
    contig(BARCODES[0], "TRB", "CASSPF", umis=9),
    # Three beta chains.
    contig(BARCODES[1], "TRA", "CAVF"),
    *(contig(BARCODES[1], "TRB", f"CASS{letter}F") for letter in "LPQ"),
    # A beta chain alone, as the alpha chain is not productive; and a gamma chain.
    contig(BARCODES[2], "TRA", "CAVF", productive="False"),
    contig(BARCODES[2], "TRB", "CASSLF"),
    contig(BARCODES[2], "TRG", "CATW"),
]


@pytest.fixture
def table(tmp_path) -> str:
    path = tmp_path / "filtered_contig_annotations.csv"
    pd.DataFrame(CONTIGS).to_csv(path, index=False)
    return str(path)


def cells_of(barcodes=BARCODES, batch="d:1") -> pd.DataFrame:
    names = [f"d:{i}" for i in range(len(barcodes))]
    return pd.DataFrame({"barcode": list(barcodes), "batch": batch}, index=names)


def read(cells, given=None, settings=NONE, file=None) -> pd.DataFrame:
    return read_receptors(cells, given, settings, lambda: file, "dataset 'd'")


def test_the_chain_with_most_umis_is_the_primary_one_and_every_cell_has_a_status(table):
    found = read(cells_of(), {"": table})
    assert list(found["status"]) == ["paired", "multichain", "no_alpha", "no_receptor"]
    assert list(found["beta"])[::2] == ["CASSPF", "CASSLF"]
    assert list(found["alpha"])[::2] == ["CAVF", None]
    assert list(found["n_beta"]) == [2, 3, 1, 0]
    assert list(found["n_alpha"]) == [1, 1, 0, 0]
    assert list(found["other_chains"]) == [False, False, True, False]
    assert found["alpha_v"].iloc[0] == "TRAV1"


def test_gzipped_tables_airr_tables_and_obsm_say_the_same(table, tmp_path):
    import scirpy

    expected = read_chains(table, "")
    with open(table, "rb") as plain, gzip.open(f"{table}.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    pd.testing.assert_frame_equal(read_chains(f"{table}.gz", ""), expected)
    stored = scirpy.io.read_10x_vdj(table)
    scirpy.io.write_airr(stored, tmp_path / "airr.tsv")
    pd.testing.assert_frame_equal(read_chains(str(tmp_path / "airr.tsv"), ""), expected)
    whole = ad.AnnData(np.zeros((stored.n_obs, 1)), obs=stored.obs, obsm={"airr": stored.obsm["airr"]})
    whole.write_h5ad(tmp_path / "cells.h5ad")
    file = SimpleNamespace(path=str(tmp_path / "cells.h5ad"), spaces={"airr": None})
    found = read(cells_of(list(expected.index)), None, NONE, file)
    assert list(found["beta"]) == list(expected["beta"])


def test_barcodes_with_suffixes_of_samples_are_matched_within_their_batch(table):
    cells = pd.concat([cells_of([f"{b}_s{s}" for b in BARCODES], f"d:{s}") for s in (1, 2)])
    cells.index = [f"d:{i}" for i in range(len(cells))]
    found = read(cells, {"2": table})
    assert list(found["status"][:4]) == ["no_receptor"] * 4
    assert found["beta"].iloc[4] == "CASSPF"
    with pytest.raises(
        InputError, match="3 barcodes are the same up to prefix and suffix, but there are several batches"
    ):
        read(cells, {"": table})
    with pytest.raises(InputError, match="names batch '3', and the batches are 1, 2"):
        read(cells, {"3": table})


def test_the_v_gene_is_that_of_its_chain_also_where_others_are_missing():
    file = columns_file(a=["CAVF;CALF", "NA;CALF", "", ""], b=["CASF"] * 4, av=["NA;V2", "V1;V2", "", ""])
    found = read(cells_of(), None, COLUMNS, file)
    assert list(found["alpha"]) == ["CAVF", "CALF", None, None]
    assert list(found["alpha_v"]) == [None, "V2", None, None]
    assert list(found["n_alpha"]) == [2, 1, 0, 0]


def test_the_table_of_another_sample_is_refused_though_some_barcodes_are_the_same(tmp_path):
    own = [
        f"{BARCODES[0][:12]}{'ACGT'[i % 4]}{'ACGT'[i // 4 % 4]}{'ACGT'[i // 16 % 4]}{'ACGT'[i // 64 % 4]}-1"
        for i in range(256)
    ]
    pd.DataFrame([contig(barcode, "TRA", "CAVF") for barcode in own[:130]]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(
        InputError, match=r"4 of the 130 barcodes of .* are among the 130 cells, as many as two samples"
    ):
        read(cells_of(own[126:]), {"": str(tmp_path / "b.csv")})
    # All barcodes of the table are cells, though few cells have a receptor; and the other way round.
    assert (read(cells_of(own), {"": str(tmp_path / "b.csv")})["alpha"].notna()).sum() == 130
    assert read(cells_of(own[:2]), {"": str(tmp_path / "b.csv")})["alpha"].notna().all()


def test_a_table_without_chains_is_refused_as_such(tmp_path):
    pd.DataFrame([contig(BARCODES[0], "TRA", "CAVF")]).iloc[:0].to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match="no row below its header; write '-' in its place"):
        read_chains(str(tmp_path / "b.csv"), "dataset 'd'")


def test_a_table_of_other_cells_is_refused_with_barcodes_of_both(table):
    with pytest.raises(
        InputError, match=r"no barcode of .*csv \(AAACCTGAGAAACCAT-1.*is a cell of the counts \(other_1"
    ):
        read(cells_of(["other_1", "other_2"]), {"": table})
    doubled = cells_of([f"s{i}_{BARCODES[0]}" for i in range(2)])
    with pytest.raises(InputError, match="AAACCTGAGAAACCAT' occurs twice in the counts"):
        read(doubled, {"": table})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "barcode,chain\nA,TRA\n", "cannot be read as contig annotations of Cell Ranger"),
        ("x.tsv", "cell_id\tchain\nA\tTRA\n", "cannot be read as an AIRR table"),
        ("x.csv.gz", "no gzip", "cannot be read as contig annotations"),
    ],
)
def test_a_file_that_is_no_table_of_chains_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_chains(str(tmp_path / name), "dataset 'd'")


def test_chains_of_other_loci_alone_are_refused(tmp_path):
    pd.DataFrame([contig(BARCODES[0], "IGH", "CARW")]).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match=r"none of 1 chains \(loci: IGH\) is a productive TRA or TRB chain"):
        read_chains(str(tmp_path / "b.csv"), "dataset 'd'")


def test_an_obsm_that_holds_something_else_is_refused(tmp_path):
    path = tmp_path / "x.h5ad"
    ad.AnnData(np.zeros((2, 1)), obsm={"airr": np.zeros((2, 3))}).write_h5ad(path)
    with pytest.raises(InputError, match=r"'airr' in obsm of .* holds no AIRR chains"):
        read_stored_chains(str(path), "dataset 'd'")


def columns_file(**columns) -> SimpleNamespace:
    return SimpleNamespace(path="d.h5ad", cells=pd.DataFrame(columns, index=BARCODES), spaces={})


def test_chains_of_cell_columns_keep_their_order_and_broken_ones_do_not_count():
    file = columns_file(
        a=["CAVF;CALF", "None", "CA*F;CAVF", None], b=["CASF", "CASF", "CASF;CATF;CAAF", "NA"], av=["V1;V2"] * 4
    )
    found = read(cells_of(), None, COLUMNS, file)
    assert list(found["alpha"]) == ["CAVF", None, "CAVF", None]
    assert list(found["alpha_v"]) == ["V1", None, "V2", None]
    assert list(found["n_alpha"]) == [2, 0, 1, 0]
    assert list(found["status"]) == ["paired", "no_alpha", "multichain", "no_receptor"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["CAVF"] * 4, "av": ["V"] * 4}, r"receptors: beta: d.h5ad has no cell column 'b'; it has a, av"),
        (
            {"a": ["TGTGCTGTGTTTTGT"] * 4, "b": ["CASF"] * 4, "av": ["V"] * 4},
            "column 'a' of d.h5ad: 4 of 4 .* nucleotides",
        ),
        ({"a": ["CAV F"] * 4, "b": ["CASF"] * 4, "av": ["V"] * 4}, "4 of 4 values are no sequences of amino acids"),
        ({"a": [None] * 4, "b": ["None"] * 4, "av": ["V"] * 4}, "no cell has a CDR3"),
    ],
)
def test_columns_that_hold_no_cdr3s_are_refused(columns, message):
    with pytest.raises(InputError, match=message):
        read(cells_of(), None, COLUMNS, columns_file(**columns))


def test_cells_without_receptors_are_said_to_have_none_in_the_sheet():
    found = read(cells_of(), {})
    assert set(found["status"]) == {"no_receptor"}
    with pytest.raises(InputError, match=r"d.h5ad has no chains: .* write '-' as airr"):
        read(cells_of(), None, NONE, columns_file(x=[1] * 4))


def test_cdr3s_with_and_without_the_conserved_cysteine_do_not_go_together():
    cut = with_cysteine(pd.DataFrame({"alpha": ["AVF", None], "beta": ["ASF", "ATF"]}))
    assert cut == 0
    require_same_form({"a": 1.0, "b": 0.9, "empty": float("nan")})
    with pytest.raises(InputError, match=r"the CDR3s of q begin without .* \(share .*: a: 100 %, q: 0 %\)"):
        require_same_form({"a": 1.0, "q": cut})


def test_the_core_of_a_barcode():
    assert core_of("P1_AAACCTGAGAAACCAT-1-2") == "AAACCTGAGAAACCAT"
    assert core_of("cell 7") == "cell 7"
