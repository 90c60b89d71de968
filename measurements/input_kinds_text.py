"""Folders of mtx, tables of text and files that are no counts for input_files.py."""

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from input_kinds import (
    IDS,
    KEYS,
    N_CELLS,
    N_GENES,
    NOTHING,
    SYMBOLS,
    World,
    features,
    kind,
    mtx,
    plain_h5,
    tarred,
    tenx,
    text,
    with_cells,
    zipped,
)


def _rng() -> np.random.Generator:
    return np.random.default_rng(6)


@kind("outs/ of Cell Ranger, with raw and filtered")
def outs(folder: Path, world: World) -> tuple:
    plain_h5(folder / "outs/filtered_feature_bc_matrix.h5", world)
    tenx(folder / "outs/filtered_feature_bc_matrix", world)
    tenx(folder / "outs/raw_feature_bc_matrix", world, counts=world.counts + 1)
    text(folder / "outs/web_summary.html", ["<html></html>"])
    text(folder / "outs/metrics_summary.csv", ["Estimated Number of Cells", "30"])
    return folder / "outs", {}, {}


@kind("per_sample_outs of cellranger multi, one sample")
def per_sample(folder: Path, world: World) -> tuple:
    tenx(folder / "outs/per_sample_outs/s1/count/sample_filtered_feature_bc_matrix", world)
    tenx(folder / "outs/multi/count/raw_feature_bc_matrix", world, counts=world.counts + 1)
    return folder / "outs", {}, {}


@kind("per_sample_outs of cellranger multi, two samples")
def per_samples(folder: Path, world: World) -> tuple:
    for name in ("s1", "s2"):
        tenx(folder / f"outs/per_sample_outs/{name}/count/sample_filtered_feature_bc_matrix", world)
    tenx(folder / "outs/multi/count/raw_feature_bc_matrix", world, counts=world.counts + 1)
    return folder / "outs", {}, NOTHING


@kind("Solo.out of STARsolo: Gene, GeneFull, Velocyto; raw and filtered")
def starsolo(folder: Path, world: World) -> tuple:
    top = folder / "Solo.out"
    for name, factor in {"Gene": 1, "GeneFull": 2}.items():
        for part, more in {"raw": 1, "filtered": 0}.items():
            mtx(top / name / part / "matrix.mtx", factor * world.counts.T + more)
            text(top / name / part / "features.tsv", features())
            text(top / name / part / "barcodes.tsv", world.cells)
        text(top / name / "Summary.csv", ["Number of Reads,1"])
    text(top / "Barcodes.stats", ["nNoAdapter 0"])
    return top / "Gene/filtered", {}, {}


@kind("the same, Solo.out/Gene")
def starsolo_gene(folder: Path, world: World) -> tuple:
    return starsolo(folder, world)[0].parent, {}, {}


def _velocyto(folder: Path, world: World) -> Path:
    top, spliced = folder / "Solo.out/Velocyto/filtered", _rng().binomial(world.counts, 0.7)
    parts = {"spliced": spliced, "unspliced": world.counts - spliced, "ambiguous": 0 * spliced}
    for name, part in parts.items():
        mtx(top / f"{name}.mtx", part.T)
    text(top / "features.tsv", features())
    text(top / "barcodes.tsv", world.cells)
    return top


@kind("Velocyto of STARsolo, three files, no layer")
def velocyto(folder: Path, world: World) -> tuple:
    return _velocyto(folder, world), {}, NOTHING


@kind("the same with layer: spliced+unspliced+ambiguous")
def velocyto_sum(folder: Path, world: World) -> tuple:
    return _velocyto(folder, world), {"layer": "spliced+unspliced+ambiguous"}, {}


@kind("mtx of an early STARsolo: header '%%', tabs")
def star_header(folder: Path, world: World) -> tuple:
    entries = [f"{g + 1}\t{c + 1}\t{world.counts[c, g]}" for c, g in zip(*world.counts.nonzero(), strict=True)]
    text(folder / "matrix.mtx", ["%%", "%", f"{N_GENES}\t{N_CELLS}\t{len(entries)}", *entries])
    text(folder / "genes.tsv", features(third=None))
    text(folder / "barcodes.tsv", world.cells)
    return folder, {}, {}


@kind("counts_unfiltered of kb-python, with genes.names")
def kb(folder: Path, world: World) -> tuple:
    top = folder / "counts_unfiltered"
    mtx(top / "cells_x_genes.mtx", world.counts)
    text(top / "cells_x_genes.barcodes.txt", world.cells)
    text(top / "cells_x_genes.genes.txt", [f"{i}.2" for i in IDS])
    text(top / "cells_x_genes.genes.names.txt", SYMBOLS)
    return folder, {}, {}


@kind("kb-python nac: mature, nascent, ambiguous, total")
def kb_nac(folder: Path, world: World) -> tuple:
    top, mature = folder / "counts_unfiltered", _rng().binomial(world.counts, 0.7)
    parts = {"mature": mature, "nascent": world.counts - mature, "ambiguous": 0 * mature, "total": world.counts}
    for name, part in {**parts, "cell": mature, "nucleus": world.counts - mature}.items():
        mtx(top / f"cells_x_genes.{name}.mtx", part)
    text(top / "cells_x_genes.barcodes.txt", world.cells)
    text(top / "cells_x_genes.genes.txt", IDS)
    text(top / "cells_x_genes.genes.names.txt", SYMBOLS)
    return top, {}, {}


@kind("alevin-fry USA, layer: spliced+unspliced+ambiguous")
def alevin_fry(folder: Path, world: World) -> tuple:
    top, spliced = folder / "quant/alevin", _rng().binomial(world.counts, 0.6)
    mtx(top / "quants_mat.mtx", np.hstack([spliced, world.counts - spliced, 0 * spliced]), "real")
    text(top / "quants_mat_cols.txt", [f"{i}{tail}" for tail in ("", "-U", "-A") for i in IDS])
    text(top / "quants_mat_rows.txt", world.cells)
    text(folder / "quant/quant.json", ["{}"])
    return folder / "quant", {"layer": "spliced+unspliced+ambiguous"}, {"genes": IDS}


@kind("DGE_filtered of Parse (DGE.mtx, all_genes.csv, cell_metadata.csv)")
def parse(folder: Path, world: World) -> tuple:
    top = folder / "DGE_filtered"
    mtx(top / "DGE.mtx", world.counts)
    genes = [f"{i},{s},hg38" for i, s in zip(IDS, SYMBOLS, strict=True)]
    text(top / "all_genes.csv", ["gene_id,gene_name,genome", *genes])
    rows = [f"{c},{b},{n}" for c, b, n in zip(world.cells, world.batches, world.counts.sum(axis=1), strict=True)]
    text(top / "cell_metadata.csv", ["bc_wells,sample,tscp_count", *rows])
    return top, {"batch_key": "sample"}, {"batches": world.batches}


@kind("MEX zip of BD Rhapsody, whole numbers as barcodes, AbSeq")
def bd(folder: Path, world: World) -> tuple:
    proteins = ["CD3:UCHT1|CD3E|AHS0231|pAbO", "CD19:SJ25C1|CD19|AHS0030|pAbO"]
    counts = np.hstack([world.counts, _rng().poisson(90, size=(N_CELLS, 2))])
    mtx(folder / "x/matrix.mtx.gz", counts.T)
    names = [f"{s}\t{s}\tGene Expression" for s in SYMBOLS]
    text(folder / "x/features.tsv.gz", names + [f"{p}\t{p}\tAntibody Capture" for p in proteins])
    cells = [str(90_000 + 7 * i) for i in range(N_CELLS)]
    text(folder / "x/barcodes.tsv.gz", cells)
    return zipped(folder / "a_RSEC_MolsPerCell_MEX.zip", folder / "x"), {}, {"cells": cells}


def _geo(folder: Path, world: World) -> Path:
    for i, name in enumerate(("GSM1_a_", "GSM2_b_", "GSM3_c_")):
        mtx(folder / f"geo/{name}matrix.mtx.gz", world.counts.T + i)
        text(folder / f"geo/{name}features.tsv.gz", features())
        text(folder / f"geo/{name}barcodes.tsv.gz", world.cells)
    return folder / "geo"


@kind("GEO folder with three prefixes")
def geo(folder: Path, world: World) -> tuple:
    return _geo(folder, world), {}, NOTHING


@kind("the same, folder/PREFIX_")
def geo_prefix(folder: Path, world: World) -> tuple:
    return _geo(folder, world) / "GSM2_b_", {}, {"counts": world.counts + 1}


@kind("10x mtx, barcodes.tsv with a header")
def barcode_header(folder: Path, world: World) -> tuple:
    tenx(folder, world)
    text(folder / "barcodes.tsv.gz", ["barcode", *world.cells])
    return folder, {}, {}


@kind("10x mtx, features.tsv of one column (scanpy #2053)")
def one_column(folder: Path, world: World) -> tuple:
    return tenx(folder, world, SYMBOLS), {}, {}


@kind("10x mtx, third column of features.tsv a genome")
def third_genome(folder: Path, world: World) -> tuple:
    return tenx(folder, world, features(third="GRCh38")), {}, {}


@kind("10x mtx, third column of features.tsv a biotype")
def third_biotype(folder: Path, world: World) -> tuple:
    lines = [
        f"{i}\t{s}\t{['protein_coding', 'lncRNA'][n % 2]}" for n, (i, s) in enumerate(zip(IDS, SYMBOLS, strict=True))
    ]
    return tenx(folder, world, lines), {}, {}


@kind("mtx, genes.tsv with a header of seven columns (Seurat #2740)")
def gene_header(folder: Path, world: World) -> tuple:
    mtx(folder / "matrix.mtx", world.counts.T)
    tail = "1\t11869\t14409\t+\tprotein_coding"
    rows = [f"{i}\t{s}\t{tail}" for i, s in zip(IDS, SYMBOLS, strict=True)]
    text(folder / "genes.tsv", ["ENSEMBL\tSYMBOL\tCHR\tSTART\tEND\tSTRAND\tBIOTYPE", *rows])
    text(folder / "barcodes.tsv", world.cells)
    return folder, {}, {}


@kind("10x mtx with GRCh38_ before ids and symbols")
def prefixes(folder: Path, world: World) -> tuple:
    lines = features([f"GRCh38_{i}" for i in IDS], [f"GRCh38_{s}" for s in SYMBOLS])
    return tenx(folder, world, lines), {}, {}


@kind("10x mtx with proteins and multiplexing barcodes")
def cite(folder: Path, world: World) -> tuple:
    counts = np.hstack([world.counts, _rng().poisson(90, size=(N_CELLS, 3))])
    extra = [
        "CD3\tCD3_TotalSeqB\tAntibody Capture",
        "CD19\tCD19\tAntibody Capture",
        "CMO301\tCMO301\tMultiplexing Capture",
    ]
    return tenx(folder, world, [*features(), *extra], counts), {}, {}


@kind("10x mtx with line ends of Windows")
def windows(folder: Path, world: World) -> tuple:
    mtx(folder / "matrix.mtx", world.counts.T)
    text(folder / "genes.tsv", features(third=None))
    text(folder / "barcodes.tsv", world.cells)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return folder, {}, {}


@kind("mtx of cells × genes with the names of Cell Ranger (scipy mmwrite)")
def transposed(folder: Path, world: World) -> tuple:
    mtx(folder / "matrix.mtx", world.counts, "real")
    text(folder / "genes.tsv", features(third=None))
    text(folder / "barcodes.tsv", world.cells)
    return folder, {}, {}


@kind("sci-RNA-seq: gene_count.mtx, gene_annotate.csv, cell_annotate.csv")
def sci(folder: Path, world: World) -> tuple:
    mtx(folder / "gene_count.mtx", world.counts.T)
    genes = [f"{i},protein_coding,{s}" for i, s in zip(IDS, SYMBOLS, strict=True)]
    text(folder / "gene_annotate.csv", ["gene_id,gene_type,gene_short_name", *genes])
    cells = [f"{c},{b}" for c, b in zip(world.cells, world.batches, strict=True)]
    text(folder / "cell_annotate.csv", ["sample,batch", *cells])
    return folder, {"batch_key": "batch"}, {"batches": world.batches}


@kind("zip of a folder of 10x mtx, one level down")
def mtx_zip(folder: Path, world: World) -> tuple:
    tenx(folder / "x/filtered_feature_bc_matrix", world)
    return zipped(folder / "file.zip", folder / "x"), {}, {}


@kind("tar.gz of a folder of 10x mtx")
def mtx_tar(folder: Path, world: World) -> tuple:
    return tarred(folder / "file.tar.gz", tenx(folder / "filtered_feature_bc_matrix", world)), {}, NOTHING


def _table(world: World, row: dict, folder: Path, lines: list[str], name: str = "cells.csv") -> tuple[Path, dict]:
    return tenx(folder / "mtx", world), {**KEYS, "metadata": str(text(folder / name, lines)), **row}


def _cell_rows(world: World, sep: str, n: int = N_CELLS, quote: str = "") -> list[str]:
    values = list(zip(world.cells, world.batches, world.labels, strict=True))[:n]
    return [sep.join(f"{quote}{value}{quote}" for value in row) for row in values]


@kind("metadata separated by semicolons")
def semicolons(folder: Path, world: World) -> tuple:
    return *_table(world, {}, folder, ["cell;batch;cell_type", *_cell_rows(world, ";")]), with_cells(world)


@kind("metadata by R's write.table, quoted, spaces, header one shorter")
def write_table(folder: Path, world: World) -> tuple:
    lines = ['"batch" "cell_type"', *_cell_rows(world, " ", quote='"')]
    return *_table(world, {}, folder, lines, "cells.txt"), with_cells(world)


@kind("metadata by R's write.csv, quoted, first name empty")
def write_csv(folder: Path, world: World) -> tuple:
    lines = ['"","batch","cell_type"', *_cell_rows(world, ",", quote='"')]
    return *_table(world, {}, folder, lines), with_cells(world)


@kind("metadata with numbers of rows first, barcodes second")
def row_numbers(folder: Path, world: World) -> tuple:
    rows = [f"{i}\t{row}" for i, row in enumerate(_cell_rows(world, "\t"))]
    return *_table(world, {}, folder, ["\tbarcode\tbatch\tcell_type", *rows], "cells.tsv"), with_cells(world)


@kind("metadata for half of the cells")
def half(folder: Path, world: World) -> tuple:
    return *_table(world, {}, folder, ["cell\tbatch\tcell_type", *_cell_rows(world, "\t", 15)], "cells.tsv"), NOTHING


@kind("the same with metadata_cells: listed")
def half_listed(folder: Path, world: World) -> tuple:
    lines = ["cell\tbatch\tcell_type", *_cell_rows(world, "\t", 15)]
    expected = {"counts": world.counts[:15], "cells": world.cells[:15]}
    found = _table(world, {"listed_cells": True}, folder, lines, "cells.tsv")
    return *found, expected | {"batches": world.batches[:15], "labels": world.labels[:15]}


@kind("metadata without the -1 of the barcodes")
def no_suffix(folder: Path, world: World) -> tuple:
    rows = [row.replace("-1\t", "\t", 1) for row in _cell_rows(world, "\t")]
    return *_table(world, {}, folder, ["cell\tbatch\tcell_type", *rows], "cells.tsv"), NOTHING


def _dense(world: World, sep: str, corner: list[str]) -> list[str]:
    rows = [sep.join([s, *map(str, world.counts[:, g])]) for g, s in enumerate(SYMBOLS)]
    return [sep.join([*corner, *world.cells]), *rows]


@kind("dense csv, genes × cells")
def dense_csv(folder: Path, world: World) -> tuple:
    return text(folder / "counts.csv", _dense(world, ",", [""])), {}, {}


@kind("dense txt.gz of GEO (Drop-seq: GENE first)")
def dropseq(folder: Path, world: World) -> tuple:
    return text(folder / "GSM1.dge.txt.gz", _dense(world, "\t", ["GENE"])), {}, {}


@kind("dense tsv.gz by R's write.table, header one shorter")
def dense_r(folder: Path, world: World) -> tuple:
    return text(folder / "GSM1_counts.tsv.gz", _dense(world, "\t", [])), {}, {}


@kind("dense csv, cells × genes (pandas)")
def dense_cells(folder: Path, world: World) -> tuple:
    pd.DataFrame(world.counts, index=world.cells, columns=SYMBOLS).to_csv(folder / "counts.csv")
    return folder / "counts.csv", {}, {}


@kind("dense csv with a text in the middle")
def dense_broken(folder: Path, world: World) -> tuple:
    lines = _dense(world, ",", [""])
    lines[7] = lines[7].rsplit(",", 1)[0] + ",n.d."
    return text(folder / "counts.csv", lines), {}, NOTHING


@kind("feature reference csv of Cell Ranger")
def feature_reference(folder: Path, world: World) -> tuple:
    lines = [
        "id,name,read,pattern,sequence,feature_type",
        "CD3,CD3_TotalSeqB,R2,5PNNNNNNNNNN(BC),AACAAGACCCTTGAG,Antibody Capture",
    ]
    return text(folder / "feature_ref.csv", lines), {}, NOTHING


@kind("RDS of R, gzipped")
def rds(folder: Path, world: World) -> tuple:
    (folder / "seurat.rds").write_bytes(gzip.compress(b"X\n\x00\x00\x00\x03\x00\x04\x03\x02" + bytes(200)))
    return folder / "seurat.rds", {}, NOTHING


@kind("page of a failed download, named h5ad")
def html(folder: Path, world: World) -> tuple:
    return text(folder / "file.h5ad", ["<!DOCTYPE html>", "<html><body>403 Forbidden</body></html>"]), {}, NOTHING


@kind("pointer of Git LFS, named h5")
def lfs(folder: Path, world: World) -> tuple:
    lines = ["version https://git-lfs.github.com/spec/v1", "oid sha256:" + 64 * "a", "size 123456"]
    return text(folder / "file.h5", lines), {}, NOTHING


@kind("xlsx")
def xlsx(folder: Path, world: World) -> tuple:
    with zipfile.ZipFile(folder / "counts.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    return folder / "counts.xlsx", {}, NOTHING


@kind("parquet")
def parquet(folder: Path, world: World) -> tuple:
    pd.DataFrame(world.counts, columns=SYMBOLS).to_parquet(folder / "counts.parquet")
    return folder / "counts.parquet", {}, NOTHING


@kind("an empty file named h5ad")
def empty(folder: Path, world: World) -> tuple:
    (folder / "file.h5ad").touch()
    return folder / "file.h5ad", {}, NOTHING


@kind("BAM file")
def bam(folder: Path, world: World) -> tuple:
    header = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00\x1b\x00"
    (folder / "possorted_genome_bam.bam").write_bytes(header + gzip.compress(b"BAM\x01" + bytes(50))[10:])
    return folder / "possorted_genome_bam.bam", {}, NOTHING


@kind("10x mtx folder without barcodes")
def no_barcodes(folder: Path, world: World) -> tuple:
    tenx(folder / "mtx", world)
    (folder / "mtx/barcodes.tsv.gz").unlink()
    return folder / "mtx", {}, NOTHING


@kind("features of another run (one gene fewer)")
def other_features(folder: Path, world: World) -> tuple:
    return tenx(folder, world, features()[:-1]), {}, NOTHING


@kind("mtx without values (pattern)")
def pattern(folder: Path, world: World) -> tuple:
    tenx(folder / "mtx", world)
    entries = [f"{g + 1} {c + 1}" for c, g in zip(*world.counts.nonzero(), strict=True)]
    header = ["%%MatrixMarket matrix coordinate pattern general", f"{N_GENES} {N_CELLS} {len(entries)}"]
    text(folder / "mtx/matrix.mtx.gz", [*header, *entries])
    return folder / "mtx", {}, NOTHING


@kind("folder of several h5ad files")
def folder_of_files(folder: Path, world: World) -> tuple:
    (folder / "all").mkdir()
    plain_h5(folder / "all/a.h5", world)
    shutil.copy(folder / "all/a.h5", folder / "all/b.h5")
    return folder / "all", {}, NOTHING


@kind("Solo.out itself, with Gene and GeneFull")
def starsolo_top(folder: Path, world: World) -> tuple:
    return starsolo(folder, world)[0].parents[1], {}, NOTHING


@kind("Solo.out with Gene, SJ and Velocyto")
def starsolo_one(folder: Path, world: World) -> tuple:
    top = starsolo(folder, world)[0].parents[1]
    shutil.rmtree(top / "GeneFull")
    _velocyto(folder, world)
    mtx(top / "SJ/raw/matrix.mtx", world.counts.T)
    return top, {}, {}


@kind("10x mtx folder with files of macOS (._matrix.mtx.gz, .DS_Store)")
def macos(folder: Path, world: World) -> tuple:
    tenx(folder, world)
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(100))
    (folder / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    return folder, {}, {}


@kind("zip of a 10x mtx folder made on macOS (__MACOSX)")
def macos_zip(folder: Path, world: World) -> tuple:
    tenx(folder / "x/sample", world)
    for path in list((folder / "x/sample").iterdir()):
        other = folder / f"x/__MACOSX/sample/._{path.name}"
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_bytes(b"\x00\x05\x16\x07" + bytes(60))
    return zipped(folder / "file.zip", folder / "x"), {}, {}


@kind("10x mtx, matrix.mtx and matrix.mtx.gz both there")
def both(folder: Path, world: World) -> tuple:
    tenx(folder, world)
    mtx(folder / "matrix.mtx", world.counts.T)
    text(folder / "features.tsv", features())
    text(folder / "barcodes.tsv", world.cells)
    return folder, {}, {}


@kind("mtx, lists by R's write.table with defaults (quotes, row numbers, header x, spaces)")
def r_lists(folder: Path, world: World) -> tuple:
    mtx(folder / "matrix.mtx", world.counts.T)
    for name, values in {"genes": SYMBOLS, "barcodes": world.cells}.items():
        text(folder / f"{name}.tsv", ['"x"', *(f'"{i}" "{value}"' for i, value in enumerate(values, start=1))])
    return folder, {}, {}


@kind("mtx, lists by R's write.csv (quotes, row numbers, header x)")
def r_csv_lists(folder: Path, world: World) -> tuple:
    mtx(folder / "matrix.mtx", world.counts.T, "real")
    for name, values in {"genes": SYMBOLS, "barcodes": world.cells}.items():
        text(folder / f"{name}.csv", ['"","x"', *(f'"{i}","{value}"' for i, value in enumerate(values, start=1))])
    return folder, {}, {}


@kind("ARC multiome mtx, features of six columns with peaks")
def arc_mtx(folder: Path, world: World) -> tuple:
    counts = np.hstack([world.counts, _rng().poisson(0.4, size=(N_CELLS, 20))])
    lines = [f"{line}\tchr1\t{n}\t{n + 1}" for n, line in enumerate(features())]
    lines += [f"chr1:{n}-{n + 9}\tchr1:{n}-{n + 9}\tPeaks\tchr1\t{n}\t{n + 9}" for n in range(20)]
    return tenx(folder, world, lines, counts), {}, {}


@kind("Cell Ranger 2: filtered_gene_bc_matrices/GRCh38")
def ranger_2(folder: Path, world: World) -> tuple:
    top = folder / "outs/filtered_gene_bc_matrices/GRCh38"
    mtx(top / "matrix.mtx", world.counts.T)
    text(top / "genes.tsv", features(third=None))
    text(top / "barcodes.tsv", world.cells)
    return folder / "outs", {}, {}


@kind("10x mtx, fractions in matrix.mtx (SoupX by write10xCounts)")
def soupx_mtx(folder: Path, world: World) -> tuple:
    tenx(folder, world)
    soup = world.counts.sum(axis=0) / world.counts.sum() * world.counts.sum(axis=1, keepdims=True)
    mtx(folder / "matrix.mtx.gz", np.maximum(world.counts - 0.1 * soup, 0).T, "real")
    return folder, {}, NOTHING


@kind("the same with round: true")
def soupx_mtx_rounded(folder: Path, world: World) -> tuple:
    soup = world.counts.sum(axis=0) / world.counts.sum() * world.counts.sum(axis=1, keepdims=True)
    counts = np.rint(np.maximum(world.counts - 0.1 * soup, 0))
    return soupx_mtx(folder, world)[0], {"round": True}, {"counts": counts}


@kind("metadata of the Single Cell Portal (second line TYPE)")
def portal(folder: Path, world: World) -> tuple:
    lines = ["NAME\tbatch\tcell_type", "TYPE\tgroup\tgroup", *_cell_rows(world, "\t")]
    return *_table(world, {}, folder, lines, "metadata.txt"), with_cells(world)


@kind("metadata saved by Excel (byte order mark, Windows line ends, semicolons)")
def excel(folder: Path, world: World) -> tuple:
    path, row = _table(world, {}, folder, ["cell;batch;cell_type", *_cell_rows(world, ";")])
    saved = Path(row["metadata"])
    saved.write_bytes(b"\xef\xbb\xbf" + saved.read_bytes().replace(b"\n", b"\r\n"))
    return path, row, with_cells(world)


@kind("metadata in UTF-16 (Unicode text of Excel)")
def utf_16(folder: Path, world: World) -> tuple:
    path, row = _table(world, {}, folder, ["cell\tbatch\tcell_type", *_cell_rows(world, "\t")], "cells.txt")
    saved = Path(row["metadata"])
    saved.write_bytes(saved.read_text().encode("utf-16"))
    return path, row, with_cells(world)


@kind("metadata in Latin-1 (γδ is not there, but é is)")
def latin_1(folder: Path, world: World) -> tuple:
    labels = [label.replace("T cell", "T régulateur") for label in world.labels]
    changed = World(world.counts, world.cells, world.batches, labels)
    path, row = _table(changed, {}, folder, ["cell\tbatch\tcell_type", *_cell_rows(changed, "\t")], "cells.txt")
    saved = Path(row["metadata"])
    saved.write_bytes(saved.read_text().encode("latin-1"))
    return path, row, with_cells(world, labels=labels)


@kind("metadata xlsx")
def metadata_xlsx(folder: Path, world: World) -> tuple:
    found = xlsx(folder, world)[0]
    return tenx(folder / "mtx", world), {**KEYS, "metadata": str(found)}, NOTHING


@kind("metadata with cells twice")
def metadata_twice(folder: Path, world: World) -> tuple:
    rows = _cell_rows(world, "\t")
    return *_table(world, {}, folder, ["cell\tbatch\tcell_type", *rows, rows[0] + " x"], "cells.tsv"), NOTHING


@kind("dense tsv, two columns of names (id and symbol)")
def two_names(folder: Path, world: World) -> tuple:
    rows = ["\t".join([IDS[g], s, *map(str, world.counts[:, g])]) for g, s in enumerate(SYMBOLS)]
    return text(folder / "counts.tsv.gz", ["\t".join(["gene_id", "gene_name", *world.cells]), *rows]), {}, {}


@kind("exprMatrix.tsv.gz of the UCSC Cell Browser (id|symbol)")
def cell_browser(folder: Path, world: World) -> tuple:
    rows = ["\t".join([f"{IDS[g]}.4|{s}", *map(str, world.counts[:, g])]) for g, s in enumerate(SYMBOLS)]
    lines = ["\t".join(["gene", *world.cells]), *rows]
    return text(folder / "exprMatrix.tsv.gz", lines), {}, {"reference": True}


@kind("dense csv of log-normalised values")
def dense_logged(folder: Path, world: World) -> tuple:
    pd.DataFrame(world.logged().T, index=SYMBOLS, columns=world.cells).to_csv(folder / "counts.csv")
    return folder / "counts.csv", {}, NOTHING


@kind("mtx gzip cut off in the middle")
def cut_mtx(folder: Path, world: World) -> tuple:
    path = tenx(folder, world) / "matrix.mtx.gz"
    path.write_bytes(path.read_bytes()[:900])
    return folder, {}, NOTHING
