"""Files in HDF5 and zarr for input_files.py: AnnData, MuData, loom and 10x h5 as tools and bug reports have them."""

import gzip
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem
from scipy import sparse

from input_kinds import (
    IDS,
    KEYS,
    N_CELLS,
    N_GENES,
    NOTHING,
    SYMBOLS,
    World,
    adata,
    h5ad,
    kind,
    plain_h5,
    tenx_h5,
    with_cells,
    zipped,
)

GENE = "Gene Expression"


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


@kind("h5ad, X a CSC of float64 with unsorted indices")
def csc_unsorted(folder: Path, world: World) -> tuple:
    path, csc = h5ad(folder, adata(world)), sparse.csc_matrix(world.counts.astype(np.float64))
    for start, stop in zip(csc.indptr[:-1], csc.indptr[1:], strict=True):
        csc.indices[start:stop], csc.data[start:stop] = csc.indices[start:stop][::-1], csc.data[start:stop][::-1]
    csc.has_sorted_indices = False
    with h5py.File(path, "a") as file:
        write_elem(file, "X", csc)
    return path, KEYS, with_cells(world)


@kind("h5ad, X dense int64")
def dense_int(folder: Path, world: World) -> tuple:
    return h5ad(folder, adata(world, world.counts.astype(np.int64))), KEYS, with_cells(world)


@kind("h5ad, X float16")
def float16(folder: Path, world: World) -> tuple:
    path = h5ad(folder, adata(world, world.counts.astype(np.float32)))
    with h5py.File(path, "a") as file:
        attributes = dict(file["X"].attrs)
        del file["X"]
        file["X"] = world.counts.astype(np.float16)
        file["X"].attrs.update(attributes)
    return path, KEYS, with_cells(world)


@kind("h5ad, log1p in X and counts in raw, raw with more genes (scanpy)")
def raw_counts(folder: Path, world: World) -> tuple:
    data = adata(world)
    data.raw = data.copy()
    data = data[:, :20].copy()
    data.X = world.logged()[:, :20]
    return h5ad(folder, data), KEYS, with_cells(world)


@kind("h5ad, counts of highly variable genes in X, all in raw")
def hvg_counts(folder: Path, world: World) -> tuple:
    data = adata(world)
    data.raw = data.copy()
    return h5ad(folder, data[:, :20].copy()), KEYS, with_cells(world)


@kind("h5ad, layer counts of float64, log1p in X and raw (scanpy tutorial)")
def layer_counts(folder: Path, world: World) -> tuple:
    data = adata(world, world.logged(), layers={"counts": sparse.csr_matrix(world.counts.astype(np.float64))})
    data.raw = data.copy()
    return h5ad(folder, data), KEYS, with_cells(world)


@kind("h5ad, layers binary and umi, X scaled")
def layer_binary(folder: Path, world: World) -> tuple:
    scaled = (world.logged() - world.logged().mean(axis=0)) / world.logged().std(axis=0)
    layers = {"binary": (world.counts > 0).astype(np.float32), "umi": world.counts.astype(np.float32)}
    return h5ad(folder, adata(world, scaled, layers=layers)), KEYS, with_cells(world)


@kind("h5ad, X scaled and raw log-normalised: no counts")
def scaled_only(folder: Path, world: World) -> tuple:
    data = adata(world, world.logged())
    data.raw = data.copy()
    data.X = (world.logged() - world.logged().mean(axis=0)) / world.logged().std(axis=0)
    return h5ad(folder, data), KEYS, NOTHING


@kind("h5ad, counts restored by expm1 of float32 (off by up to 1e-5)")
def restored(folder: Path, world: World) -> tuple:
    values = np.expm1(np.log1p(world.counts.astype(np.float32)))
    return h5ad(folder, adata(world, values + np.float32(1e-7) * (values > 0))), KEYS, with_cells(world)


def _soupx(world: World) -> np.ndarray:
    soup = world.counts.sum(axis=0) / world.counts.sum() * world.counts.sum(axis=1, keepdims=True)
    return np.maximum(world.counts - 0.1 * soup, 0).astype(np.float32)


@kind("h5ad, SoupX without roundToInt")
def soupx(folder: Path, world: World) -> tuple:
    return h5ad(folder, adata(world, _soupx(world))), KEYS, NOTHING


@kind("the same with round: true")
def soupx_rounded(folder: Path, world: World) -> tuple:
    values = _soupx(world)
    return h5ad(folder, adata(world, values)), {**KEYS, "round": True}, with_cells(world, counts=np.rint(values))


@kind("h5ad, scVelo: X spliced, layers spliced, unspliced; layer: spliced+unspliced")
def scvelo(folder: Path, world: World) -> tuple:
    spliced = _rng().binomial(world.counts, 0.8)
    layers = {"spliced": spliced.astype(np.float32), "unspliced": (world.counts - spliced).astype(np.float32)}
    data = adata(world, spliced.astype(np.float32), layers=layers)
    return h5ad(folder, data), {**KEYS, "layer": "spliced+unspliced"}, with_cells(world)


@kind("h5ad of anndataR, nullable strings")
def nullable(folder: Path, world: World) -> tuple:
    path = h5ad(folder, adata(world))
    with h5py.File(path, "a") as file, ad.settings.override(allow_write_nullable_strings=True):
        del file["obs/cell_type"]
        values = pd.array([*world.labels[:-1], None], dtype="string")
        write_elem(file["obs"], "cell_type", values)
    return path, KEYS, with_cells(world, labels=[*world.labels[:-1], None])


@kind("h5ad, labels of whole numbers (Leiden), batches of integers")
def numbers(folder: Path, world: World) -> tuple:
    obs = pd.DataFrame({"batch": [1 + i % 2 for i in range(N_CELLS)], "cell_type": [i % 4 for i in range(N_CELLS)]})
    data = adata(world, obs=obs.set_index(pd.Index(world.cells)))
    return h5ad(folder, data), KEYS, {"batches": [*map(str, obs["batch"])], "labels": [*map(str, obs["cell_type"])]}


@kind("h5ad, integers with missing values as labels (float column)")
def float_labels(folder: Path, world: World) -> tuple:
    obs = world.obs().assign(cell_type=[float(i % 4) if i else np.nan for i in range(N_CELLS)])
    expected = [str(i % 4) if i else None for i in range(N_CELLS)]
    return h5ad(folder, adata(world, obs=obs)), KEYS, with_cells(world, labels=expected)


@kind("h5ad, names of cells twice (concat without make_unique)")
def duplicate_cells(folder: Path, world: World) -> tuple:
    data = adata(world)
    data.obs_names = [*world.cells[:15], *world.cells[:15]]
    return h5ad(folder, data), KEYS, NOTHING


@kind("h5ad of anndata 0.6, categories in uns")
def old_categories(folder: Path, world: World) -> tuple:
    names = sorted(set(world.labels))
    dtype = [("index", "S20"), ("batch", "i1"), ("cell_type", "i1")]
    rows = zip(world.cells, world.batches, world.labels, strict=True)
    obs = np.array([(c.encode(), int(b[-1]) - 1, names.index(label)) for c, b, label in rows], dtype=dtype)
    path = folder / "file.h5ad"
    with h5py.File(path, "w") as file:
        file["X"], file["obs"] = world.counts.astype(np.float32), obs
        var = [(s.encode(), i.encode()) for s, i in zip(SYMBOLS, IDS, strict=True)]
        file["var"] = np.array(var, dtype=[("index", "S20"), ("gene_ids", "S20")])
        file["uns/cell_type_categories"] = np.array(names, dtype="S")
        file["uns/batch_categories"] = np.array(["donor1", "donor2"], dtype="S")
    return path, KEYS, with_cells(world)


@kind("h5ad of SeuratDisk, X scaled, raw without names of genes")
def seuratdisk(folder: Path, world: World) -> tuple:
    data = adata(world, world.logged() - 1)
    data.raw = adata(world)
    path = h5ad(folder, data)
    with h5py.File(path, "a") as file:
        del file["raw/var"]
        del file["obs/cell_type"], file["obs/batch"]
        for key, values in (("cell_type", world.labels), ("batch", world.batches)):
            names = sorted(set(values))
            file[f"obs/{key}"] = np.array([names.index(v) for v in values], dtype=np.int32)
            file[f"obs/__categories/{key}"] = np.array(names, dtype=h5py.string_dtype())
            file[f"obs/{key}"].attrs["categories"] = file[f"obs/__categories/{key}"].ref
    return path, KEYS, with_cells(world)


@kind("h5ad of CELLxGENE: raw/X, ids as index, feature_name")
def cellxgene(folder: Path, world: World) -> tuple:
    var = pd.DataFrame({"feature_name": pd.Categorical(SYMBOLS), "feature_biotype": "gene"}, index=IDS)
    data = adata(world, var=var)
    data.raw = data.copy()
    data.X = world.logged()
    return h5ad(folder, data), KEYS, with_cells(world)


@kind("h5ad, ids with versions")
def versions(folder: Path, world: World) -> tuple:
    var = pd.DataFrame(index=[f"{name}.{1 + i % 9}" for i, name in enumerate(IDS)])
    return h5ad(folder, adata(world, var=var)), KEYS, with_cells(world, genes=IDS)


@kind("h5ad, id and symbol joined (ENSG…_CD3D)")
def joined(folder: Path, world: World) -> tuple:
    var = pd.DataFrame(index=[f"{i}_{s}" for i, s in zip(IDS, SYMBOLS, strict=True)])
    return h5ad(folder, adata(world, var=var)), KEYS, with_cells(world, reference=True)


@kind("h5ad, symbol and id joined (CD3D_ENSG…)")
def joined_back(folder: Path, world: World) -> tuple:
    var = pd.DataFrame(index=[f"{s}_{i}" for i, s in zip(IDS, SYMBOLS, strict=True)])
    return h5ad(folder, adata(world, var=var)), KEYS, with_cells(world, reference=True)


@kind("h5ad, symbols by R (HLA.A), reference HLA-A")
def r_names(folder: Path, world: World) -> tuple:
    data = adata(world, var=pd.DataFrame(index=[s.replace("-", ".") for s in SYMBOLS]))
    return h5ad(folder, data), KEYS, with_cells(world, reference=True)


@kind("h5ad, previous symbols (IL8, SEPT2, MARCH1), genes.previous_symbols: true")
def previous(folder: Path, world: World) -> tuple:
    old = {"CXCL8": "IL8", "SEPTIN2": "SEPT2", "MARCHF1": "MARCH1"}
    data = adata(world, var=pd.DataFrame(index=[old.get(s, s) for s in SYMBOLS]))
    return h5ad(folder, data), {**KEYS, "previous_symbols": True}, with_cells(world, reference=True)


@kind("h5ad, symbols that a spreadsheet made dates (2-Sep, 1-Mar)")
def dates(folder: Path, world: World) -> tuple:
    names = [{"SEPTIN2": "2-Sep", "MARCHF1": "1-Mar"}.get(s, s) for s in SYMBOLS]
    return h5ad(folder, adata(world, var=pd.DataFrame(index=names))), KEYS, with_cells(world, genes=names)


@kind("h5ad of mouse as query of a human reference")
def mouse(folder: Path, world: World) -> tuple:
    ids = [name.replace("ENSG", "ENSMUSG") for name in IDS]
    data = adata(world, var=pd.DataFrame({"gene_ids": ids}, index=[s.capitalize() for s in SYMBOLS]))
    return h5ad(folder, data), KEYS, NOTHING | {"reference": True}


def _with_proteins(world: World, names: list[str]) -> tuple:
    extra = _rng().poisson(200, size=(N_CELLS, len(names)))
    return np.hstack([world.counts, extra]).astype(np.float32), [*SYMBOLS, *names]


@kind("h5ad, RNA and proteins CD3_TotalSeqB in one X, no kinds")
def totalseq(folder: Path, world: World) -> tuple:
    x, names = _with_proteins(world, ["CD3_TotalSeqB", "CD19_TotalSeqB", "IgG1_control_TotalSeqB"])
    data = adata(world, x, var=pd.DataFrame(index=names))
    return h5ad(folder, data), KEYS, with_cells(world)


@kind("h5ad, RNA and hashtags in one X, column modality RNA, HTO")
def hashtags(folder: Path, world: World) -> tuple:
    x, names = _with_proteins(world, ["Hashtag1", "Hashtag2"])
    var = pd.DataFrame({"modality": ["RNA"] * N_GENES + ["HTO"] * 2}, index=names)
    return h5ad(folder, adata(world, x, var=var)), KEYS, with_cells(world)


@kind("h5mu, modalities gex and adt")
def mudata(folder: Path, world: World) -> tuple:
    x, names = _with_proteins(world, ["CD3", "CD19"])
    path = folder / "file.h5mu"
    with h5py.File(path, "w") as file:
        file.create_group("mod")
        write_elem(file["mod"], "gex", adata(world))
        write_elem(file["mod"], "adt", adata(world, x[:, N_GENES:], var=pd.DataFrame(index=names[N_GENES:])))
        write_elem(file, "obs", world.obs().add_prefix("gex:"))
        write_elem(file, "var", pd.DataFrame(index=names))
    return path, KEYS, with_cells(world)


@kind("zarr (version 2), folder")
def zarr_folder(folder: Path, world: World) -> tuple:
    with ad.settings.override(zarr_write_format=2):
        adata(world).write_zarr(folder / "file.zarr")
    return folder / "file.zarr", KEYS, with_cells(world)


@kind("zarr.zip")
def zarr_zip(folder: Path, world: World) -> tuple:
    adata(world).write_zarr(folder / "file.zarr")
    return zipped(folder / "file.zarr.zip", folder / "file.zarr"), KEYS, with_cells(world)


@kind("h5ad, cut off in the middle")
def truncated(folder: Path, world: World) -> tuple:
    path = h5ad(folder, adata(world))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path, KEYS, NOTHING


@kind("h5Seurat of Seurat v5 (assays/RNA/layers/counts)")
def h5seurat(folder: Path, world: World) -> tuple:
    path, stored = folder / "file.h5seurat", sparse.csc_matrix(world.counts.T.astype(np.float64))
    with h5py.File(path, "w") as file:
        file.attrs["version"], file.attrs["active.assay"], file.attrs["project"] = "5.0.1", "RNA", "x"
        for name in ("data", "indices", "indptr"):
            file[f"assays/RNA/layers/counts/{name}"] = getattr(stored, name)
        file["assays/RNA/features"] = np.array(SYMBOLS, dtype="S")
        file["cell.names"], file["meta.data/cell_type"] = (np.array(v, dtype="S") for v in (world.cells, world.labels))
    return path, KEYS, NOTHING


def _loom(path: Path, layers: dict, matrix: np.ndarray, columns: dict, rows: dict) -> Path:
    with h5py.File(path, "w") as file:
        file["matrix"] = matrix.T
        for name, values in layers.items():
            file[f"layers/{name}"] = values.T
        for axis, table in (("col_attrs", columns), ("row_attrs", rows)):
            for name, values in table.items():
                file[f"{axis}/{name}"] = np.array(values, dtype=h5py.string_dtype())
        file.create_group("col_graphs"), file.create_group("row_graphs")
        file["attrs/LOOM_SPEC_VERSION"] = "3.0.0"
    return path


@kind("loom, spliced and unspliced, matrix their sum")
def loom_velocyto(folder: Path, world: World) -> tuple:
    spliced = _rng().binomial(world.counts, 0.8)
    layers = {"spliced": spliced, "unspliced": world.counts - spliced, "ambiguous": 0 * spliced}
    columns = {"CellID": world.cells, "batch": world.batches, "cell_type": world.labels}
    rows = {"Gene": SYMBOLS, "Accession": IDS}
    return _loom(folder / "file.loom", layers, world.counts, columns, rows), KEYS, with_cells(world)


@kind("loom of the HCA pipeline Optimus (cell_names, gene_names, ensembl_ids)")
def loom_optimus(folder: Path, world: World) -> tuple:
    columns = {"cell_names": world.cells, "CellID": world.cells, "input_id": world.batches}
    rows = {"gene_names": SYMBOLS, "Gene": SYMBOLS, "ensembl_ids": [f"{i}.3" for i in IDS]}
    path = _loom(folder / "file.loom", {}, world.counts, columns, rows)
    return path, {"batch_key": "input_id"}, {"batches": world.batches}


@kind("10x h5 of CellBender, with latent values")
def cellbender(folder: Path, world: World) -> tuple:
    path = plain_h5(folder / "x_filtered.h5", world)
    with h5py.File(path, "a") as file:
        file["droplet_latents/cell_probability"] = np.ones(N_CELLS)
        file["droplet_latents/barcode_indices_for_latents"] = np.arange(N_CELLS)
        file["global_latents/ambient_expression"] = np.full(N_GENES, 1 / N_GENES)
        file["metadata/learning_curve_train_elbo"] = np.arange(5.0)
    return path, {}, {}


@kind("10x h5 of ARC multiome, with peaks")
def multiome(folder: Path, world: World) -> tuple:
    peaks = [f"chr1:{100 * i}-{100 * i + 90}" for i in range(40)]
    counts = np.hstack([world.counts, _rng().poisson(0.5, size=(N_CELLS, 40))])
    kinds = [GENE] * N_GENES + ["Peaks"] * 40
    path = folder / "filtered_feature_bc_matrix.h5"
    return tenx_h5(path, world, counts, [*IDS, *peaks], [*SYMBOLS, *peaks], kinds, ["GRCh38"] * 100), {}, {}


@kind("10x h5 of Xenium, with control probes and codewords")
def xenium(folder: Path, world: World) -> tuple:
    extra = ["NegControlProbe_00042", "NegControlCodeword_0500", "UnassignedCodeword_0001", "BLANK_0006"]
    kinds = ["Negative Control Probe", "Negative Control Codeword", "Unassigned Codeword", "Blank Codeword"]
    counts = np.hstack([world.counts, _rng().poisson(1, size=(N_CELLS, 4))])
    path, kinds = folder / "cell_feature_matrix.h5", [GENE] * N_GENES + kinds
    return tenx_h5(path, world, counts, [*IDS, *extra], [*SYMBOLS, *extra], kinds, ["Unknown"] * 64), {}, {}


def _barnyard(folder: Path, world: World) -> Path:
    counts = np.hstack([world.counts, _rng().poisson(1, size=(N_CELLS, N_GENES))])
    ids = [f"GRCh38_{i}" for i in IDS] + [f"mm10___{i.replace('ENSG', 'ENSMUSG')}" for i in IDS]
    symbols = [f"GRCh38_{s}" for s in SYMBOLS] + [f"mm10___{s.capitalize()}" for s in SYMBOLS]
    genomes = ["GRCh38"] * N_GENES + ["mm10"] * N_GENES
    return tenx_h5(folder / "file.h5", world, counts, ids, symbols, [GENE] * 120, genomes)


@kind("10x h5 of two genomes (Cell Ranger 3), none named")
def two_genomes(folder: Path, world: World) -> tuple:
    return _barnyard(folder, world), {}, NOTHING


@kind("the same with genome: GRCh38")
def one_genome(folder: Path, world: World) -> tuple:
    return _barnyard(folder, world), {"genome": "GRCh38"}, {}


@kind("10x h5, gzipped (as GEO has it)")
def gzipped_h5(folder: Path, world: World) -> tuple:
    path = plain_h5(folder / "GSM1_filtered_feature_bc_matrix.h5", world)
    zipped_path = path.with_name(path.name + ".gz")
    zipped_path.write_bytes(gzip.compress(path.read_bytes()))
    return zipped_path, {}, {}


@kind("h5ad without X, counts in a layer")
def no_x(folder: Path, world: World) -> tuple:
    data = ad.AnnData(obs=world.obs(), var=world.var(), layers={"counts": sparse.csr_matrix(world.counts)})
    return h5ad(folder, data), KEYS, with_cells(world)


@kind("h5ad, counts in X, fractional layer counts of decontX")
def decontx(folder: Path, world: World) -> tuple:
    layers = {"counts": (world.counts * _rng().random(world.counts.shape)).astype(np.float32)}
    return h5ad(folder, adata(world, layers=layers)), KEYS, with_cells(world)


@kind("h5ad, names of cells that are whole numbers")
def whole_names(folder: Path, world: World) -> tuple:
    path = h5ad(folder, adata(world))
    with h5py.File(path, "a") as file:
        index = file["obs"].attrs["_index"]
        attributes = {"encoding-type": "array", "encoding-version": "0.2.0"}
        del file["obs"][index]
        file["obs"][index] = np.arange(N_CELLS)
        file["obs"][index].attrs.update(attributes)
    return path, KEYS, with_cells(world, cells=[*map(str, range(N_CELLS))])


@kind("h5ad, columns of bytes of fixed length (written by h5py)")
def fixed_bytes(folder: Path, world: World) -> tuple:
    path = h5ad(folder, adata(world))
    with h5py.File(path, "a") as file:
        for key, values in (("cell_type", world.labels), ("batch", world.batches)):
            del file[f"obs/{key}"]
            file[f"obs/{key}"] = np.array(values, dtype="S")
    return path, KEYS, with_cells(world)


@kind("h5ad with NaN in X")
def nan(folder: Path, world: World) -> tuple:
    x = world.counts.astype(np.float32)
    x[3, 4] = np.nan
    return h5ad(folder, adata(world, x)), KEYS, NOTHING


@kind("h5ad, negative integers in X")
def negative(folder: Path, world: World) -> tuple:
    return h5ad(folder, adata(world, world.counts.astype(np.float32) - 1)), KEYS, NOTHING


@kind("h5ad by CLR, mean-centred")
def centred(folder: Path, world: World) -> tuple:
    return h5ad(folder, adata(world, world.logged() - world.logged().mean(axis=1, keepdims=True))), KEYS, NOTHING


@kind("loom by scanpy's write_loom (obs_names, var_names)")
def loom_scanpy(folder: Path, world: World) -> tuple:
    columns = {"obs_names": world.cells, "batch": world.batches, "cell_type": world.labels}
    rows = {"var_names": SYMBOLS, "gene_ids": IDS}
    return _loom(folder / "file.loom", {}, world.counts.astype(np.float32), columns, rows), KEYS, with_cells(world)


@kind("10x h5 of peaks alone (ATAC)")
def atac(folder: Path, world: World) -> tuple:
    peaks, path = [f"chr1:{100 * i}-{100 * i + 90}" for i in range(60)], folder / "filtered_peak_bc_matrix.h5"
    return tenx_h5(path, world, world.counts, peaks, peaks, ["Peaks"] * 60, ["GRCh38"] * 60), {}, NOTHING


@kind("10x h5 of Cell Ranger 2, one genome")
def tenx_v2(folder: Path, world: World) -> tuple:
    path, stored = folder / "filtered_gene_bc_matrices_h5.h5", sparse.csc_matrix(world.counts.T)
    with h5py.File(path, "w") as file:
        for name in ("data", "indices", "indptr"):
            file[f"GRCh38/{name}"] = getattr(stored, name)
        file["GRCh38/shape"] = stored.shape
        for name, values in {"barcodes": world.cells, "genes": IDS, "gene_names": SYMBOLS}.items():
            file[f"GRCh38/{name}"] = np.array(values, dtype="S")
    return path, {}, {}


@kind("zip of one h5ad")
def zip_h5ad(folder: Path, world: World) -> tuple:
    (folder / "x").mkdir()
    h5ad(folder / "x", adata(world))
    return zipped(folder / "file.zip", folder / "x"), KEYS, with_cells(world)


@kind("h5ad, symbols twice, ids in a column (cellxgene census)")
def symbols_twice(folder: Path, world: World) -> tuple:
    names = [*SYMBOLS[:58], "CD3D", "CD3E"]
    return (
        h5ad(folder, adata(world, var=pd.DataFrame({"ensembl_id": IDS}, index=names))),
        KEYS,
        with_cells(world, genes=IDS),
    )


@kind("h5ad, two genes of one symbol after make_unique (CD3D-1)")
def made_unique(folder: Path, world: World) -> tuple:
    names = [*SYMBOLS[:59], "CD3D-1"]
    return h5ad(folder, adata(world, var=pd.DataFrame(index=names))), KEYS, with_cells(world, genes=names)


@kind("h5mu, labels of the RNA modality and of the MuData both")
def mudata_both(folder: Path, world: World) -> tuple:
    path, _, _ = mudata(folder, world)
    with h5py.File(path, "a") as file:
        del file["obs"]
        write_elem(file, "obs", world.obs().assign(cell_type="joint")[::-1])
    return path, {**KEYS, "label_keys": ["cell_type"]}, with_cells(world)


@kind("h5ad, counts as estimated by RSEM (0.93, 2, 1.07)")
def rsem(folder: Path, world: World) -> tuple:
    values = world.counts * np.where(_rng().random(world.counts.shape) < 0.3, 0.93 + _rng().random() / 10, 1)
    return h5ad(folder, adata(world, values.astype(np.float32))), KEYS, NOTHING
