"""Training on counts that stay in their file: the order of cells, the thread that reads them, and
models as good as those trained in memory.
"""

import threading
import time
from itertools import pairwise

import anndata as ad
import h5py
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import scvi  # noqa: E402

from refatlas.io import row_reader  # noqa: E402
from refatlas.io.cell_tables import UNLABELED  # noqa: E402
from refatlas.io.model_counts import read_counts, write_matrix  # noqa: E402
from refatlas.models import disk_loader, scvi_base  # noqa: E402
from refatlas.models.drvi import DisentangledVI  # noqa: E402
from refatlas.models.interface import JobContext  # noqa: E402
from refatlas.models.scanvi import ScANVI  # noqa: E402
from refatlas.models.scvi import ScVI  # noqa: E402

pytestmark = pytest.mark.slow
TRAIN = {"max_epochs": 6, "batch_size": 128, "lr": 2e-3, "patience": 10, "min_delta": 1e-4, "kl_warmup": 0.25}
MODEL = {"n_latent": 10, "n_layers": 1, "n_hidden": 64, "dropout_rate": 0.1, "gene_likelihood": "nb"}
SETTINGS = {
    "model": MODEL,
    "pretrain": TRAIN,
    "train": {**TRAIN, "max_epochs": 8, "n_samples_per_label": 50},
    "surgery": {**TRAIN, "max_epochs": 2},
}
JOB = JobContext()


@pytest.fixture(scope="module")
def kang(real, tmp_path_factory):
    """A file of 3,000 cells × 400 genes of six donors, sorted by donor and label as cells of a
    dataset may be; a tenth has no label. The path, and cells of two more donors.
    """
    cells = ad.read_h5ad(real("kang_ctrl_8donors_1287g.h5ad"))
    cells = cells[np.asarray(cells.X[:, :400].sum(1)).ravel() > 0, :400].copy()
    cells.X = cells.X.astype(np.float32)
    cells.obs["label"] = cells.obs["cell_type"].astype(object)
    donors = sorted(cells.obs["batch"].unique())
    known = cells[
        cells.obs[cells.obs["batch"].isin(donors[:6])].sort_values(["batch", "label"], kind="stable").index[::3]
    ].copy()
    known.obs["truth"] = known.obs["label"]
    known.obs.iloc[::10, known.obs.columns.get_loc("label")] = None
    known.obs["label"] = known.obs["label"].astype("category")
    path = tmp_path_factory.mktemp("kang") / "counts.h5ad"
    known.write_h5ad(path)
    with h5py.File(path, "a") as file:
        write_matrix(file, known.X)
    return str(path), cells[cells.obs["batch"].isin(donors[6:])][::6].copy()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 16 rows and pools of 32 such blocks, so that a pool is a part of the cells."""
    monkeypatch.setattr(disk_loader, "BLOCK", 16)
    monkeypatch.setattr(row_reader, "BLOCK", 16)
    monkeypatch.setattr(disk_loader, "POOL_CELLS", 512)


@pytest.fixture
def manager(kang):
    """The registered cells, on disk."""
    counts = read_counts(kang[0], from_disk=True)
    counts.obs["row"] = np.arange(counts.n_obs, dtype=np.float32)
    counts.obs["label"] = counts.obs["label"].astype(object).fillna(UNLABELED)
    scvi.settings.seed = 0
    scvi.model.SCANVI.setup_anndata(
        counts, labels_key="label", unlabeled_category=UNLABELED, batch_key="batch", continuous_covariate_keys=["row"]
    )
    return scvi.model.SCANVI._get_most_recent_anndata_manager(counts)


def seen(minibatches) -> list[np.ndarray]:
    """Return the rows of each minibatch."""
    return [m["extra_continuous_covs"].numpy().ravel().astype(int) for m in minibatches]


def no_thread_left() -> bool:
    """Return whether all threads that read have ended, or do so within five seconds."""
    for _ in range(100):
        if not any(thread.name.startswith("stored-cells") for thread in threading.enumerate()):
            return True
        time.sleep(0.05)
    return False


def test_each_cell_comes_once_an_epoch_in_random_order(manager, small_blocks):
    rows = np.flatnonzero(np.arange(manager.adata.n_obs) % 7 > 0)
    loader = disk_loader.DiskLoader(manager, indices=rows, shuffle=True, batch_size=100)
    first, second = seen(loader), seen(loader)
    for epoch in (first, second):
        assert len(epoch) == len(loader)
        assert [len(m) for m in epoch[:-1]] == [100] * (len(epoch) - 1)
        assert np.array_equal(np.sort(np.concatenate(epoch)), rows)
    assert not np.array_equal(first[0], second[0])
    assert np.abs(np.corrcoef(np.concatenate(first), np.arange(len(rows)))[0, 1]) < 0.2
    assert no_thread_left()


def test_minibatches_are_mixed_from_the_whole_file(manager, small_blocks, monkeypatch):
    monkeypatch.setattr(disk_loader, "POOL_CELLS", 1024)
    donors = manager.adata.obs["batch"].to_numpy()
    large = {donor for donor in set(donors) if (donors == donor).mean() > 0.1}
    loader = disk_loader.DiskLoader(manager, shuffle=True)
    assert len(large) == 4
    for rows in seen(loader)[:-1]:
        assert large <= set(donors[rows])
        assert np.ptp(rows) > 0.7 * len(donors)
        assert len(set(rows // 16)) > 30


def test_a_seed_gives_the_same_order(manager, small_blocks):
    orders = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        orders.append(np.concatenate(seen(disk_loader.DiskLoader(manager, shuffle=True))))
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


@pytest.mark.parametrize("rows", [None, np.array([2500, 3, 3, 1700]), np.array([], dtype=int)])
def test_minibatches_are_those_of_scvi_tools(kang, manager, small_blocks, rows):
    counts = read_counts(kang[0])
    counts.obs = manager.adata.obs.copy()
    stock = scvi.dataloaders.AnnDataLoader(manager.transfer_fields(counts), indices=rows, batch_size=300)
    own = disk_loader.DiskLoader(manager, indices=rows, batch_size=300)
    assert len(own) == len(stock)
    for a, b in zip(own, stock, strict=True):
        assert set(a) == set(b)
        for key in a:
            assert a[key].dtype == b[key].dtype
            assert torch.equal(a[key], b[key])


def test_a_last_minibatch_is_dropped_if_asked_for(manager, small_blocks):
    loader = disk_loader.DiskLoader(manager, indices=np.arange(1050), batch_size=100, drop_last=True, shuffle=True)
    assert [len(rows) for rows in seen(loader)] == [100] * 10 == [100] * len(loader)


def test_few_cells_are_read_once(manager, small_blocks, monkeypatch):
    reads, read = [], disk_loader.take_rows
    monkeypatch.setattr(disk_loader, "take_rows", lambda *args: reads.append(1) or read(*args))
    loader = disk_loader.DiskLoader(manager, indices=np.arange(300), shuffle=True)
    epochs = [np.concatenate(seen(loader)) for _ in range(3)]
    assert len(reads) == 1
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(np.sort(epochs[2]), np.arange(300))


def test_an_error_in_reading_is_raised_in_training(manager, small_blocks, monkeypatch):
    read, calls = disk_loader.take_rows, []

    def fail_later(*args):
        calls.append(1)
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return read(*args)

    monkeypatch.setattr(disk_loader, "take_rows", fail_later)
    with pytest.raises(OSError, match="the disk is gone"):
        seen(disk_loader.DiskLoader(manager, shuffle=True))
    assert no_thread_left()


def test_an_epoch_that_breaks_off_leaves_no_thread(manager, small_blocks):
    loader = disk_loader.SemiSupervisedDiskLoader(manager, shuffle=True, n_samples_per_label=20)
    loader.resample_labels()
    minibatches = iter(loader)
    next(minibatches)
    minibatches.close()
    assert no_thread_left()


def test_labelled_cells_are_drawn_anew_for_each_epoch(manager, small_blocks):
    loader = disk_loader.SemiSupervisedDiskLoader(manager, shuffle=True, n_samples_per_label=20)
    labels, drawn = manager.adata.obs["label"].to_numpy(), []
    sizes = {label: min(20, (labels == label).sum()) for label in set(labels) - {UNLABELED}}
    for _ in range(2):
        loader.resample_labels()
        everything, labelled = zip(*loader, strict=True)
        assert np.array_equal(np.sort(np.concatenate(seen(everything))), np.arange(len(labels)))
        drawn.append(set(np.concatenate(seen(labelled))))
        assert {
            label: sum(labels[row] == label for row in drawn[-1]) for label in set(labels[list(drawn[-1])])
        } == sizes
    assert len(drawn[0] - drawn[1]) > 20


@pytest.mark.parametrize(
    ("n_cells", "n_validation", "length"), [(1000, 100, 1), (100_000, 10_000, 50), (300_000, 30_000, 64), (500, 0, 1)]
)
def test_validation_cells_are_runs_from_everywhere(n_cells, n_validation, length):
    trained, held_out = disk_loader.split_in_runs(n_cells, n_validation, seed=3)
    assert np.array_equal(np.sort(np.concatenate([trained, held_out])), np.arange(n_cells))
    assert abs(len(held_out) - n_validation) <= length
    assert np.array_equal(held_out, disk_loader.split_in_runs(n_cells, n_validation, seed=3)[1])
    if n_validation:
        assert set(held_out // (n_cells // 10)) == set(range(10))
        assert len({row // length for row in held_out}) == round(n_validation / length)


@pytest.fixture(scope="module")
def trained(kang):
    """A scVI and the scANVI that starts from it, with the scVI's latent space, by where the counts
    were.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (disk_loader, row_reader):
            patch.setattr(module, "BLOCK", 16)
        patch.setattr(disk_loader, "POOL_CELLS", 1024)
        models = {}
        for side in ("memory", "disk"):
            counts = read_counts(kang[0], side == "disk")
            base = ScVI.fit(counts, {**SETTINGS, "train": TRAIN}, JOB)
            models[side] = base, ScANVI.fit(counts, SETTINGS, JOB, base), counts
        return models


def test_scvi_from_disk_is_as_good_as_in_memory(trained):
    losses = {side: base.training.history["elbo_validation"].iloc[-1] for side, (base, *_) in trained.items()}
    elbo = {side: float(base.model.get_elbo(trained["memory"][2])) for side, (base, *_) in trained.items()}
    assert elbo["disk"] == pytest.approx(elbo["memory"], rel=0.02)
    assert all(np.isfinite(loss) for loss in losses.values())
    similarities = []
    for base, _, counts in trained.values():
        latent = base.latent(counts)
        assert latent.shape == (counts.n_obs, MODEL["n_latent"])
        drawn = latent[np.random.default_rng(0).permutation(len(latent))[:400]]
        similarities.append(np.linalg.norm(drawn[:, None] - drawn, axis=2).ravel())
    assert np.corrcoef(similarities)[0, 1] > 0.8
    assert no_thread_left()


def test_scanvi_from_disk_is_as_good_as_in_memory(trained):
    accuracy = {}
    for side, (_, scanvi, counts) in trained.items():
        predicted = scanvi.predict(counts)
        assert list(predicted.index) == list(counts.obs_names)
        assert predicted.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
        accuracy[side] = (predicted.idxmax(axis=1) == counts.obs["truth"].astype(str)).mean()
    assert accuracy["disk"] > max(0.85, accuracy["memory"] - 0.04)


def test_a_model_is_applied_alike_wherever_the_counts_are(trained, kang):
    for base, scanvi, _ in trained.values():
        here, there = (read_counts(kang[0], from_disk) for from_disk in (False, True))
        np.testing.assert_allclose(base.latent(here), base.latent(there), atol=1e-4)
        np.testing.assert_allclose(scanvi.predict(here), scanvi.predict(there), atol=1e-4)
        expected = []
        for counts in (here, there):
            torch.manual_seed(0)
            expected.append(base.expected(counts))
        np.testing.assert_allclose(*expected, rtol=1e-3, atol=1e-5)


def test_a_latent_space_is_the_same_in_parts(trained, kang, monkeypatch):
    counts = read_counts(kang[0])
    base = trained["memory"][0]
    whole = base.latent(counts)
    monkeypatch.setattr(scvi_base, "EMBEDDED_AT_ONCE", 2 * 128)
    assert counts.n_obs > 3 * 128
    assert np.array_equal(base.latent(counts), whole)


def test_what_was_trained_from_disk_is_saved_loaded_and_mapped_onto_as_ever(trained, kang, tmp_path):
    _, query = kang
    for kind, model in zip((ScVI, ScANVI), trained["disk"][:2], strict=True):
        (tmp_path / kind.__name__).mkdir()
        file = tmp_path / kind.__name__ / "model.pt"
        model.save(file)
        counts = read_counts(kang[0])
        loaded = kind.load(file, counts)
        np.testing.assert_allclose(loaded.latent(counts), model.latent(trained["disk"][2]), atol=1e-4)
        cells = ad.AnnData(query.X, obs=query.obs[["batch"]].copy(), var=query.var)
        mapped = loaded.map_query(cells.copy(), SETTINGS, JOB)
        assert set(query.obs["batch"]) < set(mapped.batches())
        assert mapped.training.mean_shift > 0
        np.testing.assert_allclose(mapped.latent(counts), loaded.latent(counts), atol=1e-4)


def test_pools_follow_one_another_while_training(manager, small_blocks):
    loader = disk_loader.DiskLoader(manager, shuffle=True)
    loader.read_ahead()
    _, pools, _ = loader.ahead
    sizes = [len(rows) for rows in pools]
    assert sum(sizes) == len(manager.adata)
    assert all(size % 128 == 0 for size in sizes[:-1])
    assert max(sizes) - min(sizes) <= 128
    assert max(sizes) <= 512
    assert all(len(set(a // 16) & set(b // 16)) <= 1 for a, b in pairwise(pools))
    assert isinstance(disk_loader.data_loader(manager), disk_loader.DiskLoader)


def test_drvi_trains_from_disk(kang):
    counts = read_counts(kang[0], from_disk=True)
    model = {"n_latent": 4, "n_layers": 1, "n_hidden": 32, "dropout_rate": 0.1, "gene_likelihood": "pnb"}
    trained = DisentangledVI.fit(counts, {"model": model, "train": {**TRAIN, "max_epochs": 1}}, JOB)
    assert trained.training.history["elbo_validation"].notna().all()
    assert trained.latent(counts) == pytest.approx(trained.latent(read_counts(kang[0])), abs=1e-4)
