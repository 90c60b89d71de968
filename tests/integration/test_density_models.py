"""Densities of samples by every model type with a posterior: the numbers of scvi-tools, on small simulated counts."""

import numpy as np
import pandas as pd
import pytest

from conftest import small_counts
from refatlas.differential.density import DensityCells, draw_components
from refatlas.differential.density_inputs import read_log_densities
from refatlas.differential.participants import FILE
from refatlas.io.atomic import write_table
from refatlas.io.cell_tables import latent_table
from refatlas.io.model_counts import counts_writer, read_counts
from refatlas.models.interface import JobContext
from refatlas.models.model_files import save_model
from refatlas.models.registry import MODEL_TYPES

pytestmark = pytest.mark.slow
KINDS = [kind for kind, known in MODEL_TYPES.items() if known.has_posterior]
N_CELLS = 300


@pytest.fixture(scope="module")
def counts_file(tmp_path_factory):
    """Path of counts of two datasets with labels and proteins."""
    path, data = tmp_path_factory.mktemp("density") / "counts.h5ad", small_counts(n_cells=N_CELLS)
    # The first cells, with which models are loaded, have one of the labels alone.
    data = data[np.argsort(data.obs["cell_type"].to_numpy(), kind="stable")].copy()
    names = pd.Index([f"{'hm'[i % 2]}:c{i}" for i in range(N_CELLS)])
    batches = [f"{name[0]}:{batch}" for name, batch in zip(names, data.obs["batch"], strict=True)]
    obs = pd.DataFrame({"batch": batches, "label": data.obs["cell_type"].astype(str).to_numpy()}, index=names)
    proteins = pd.DataFrame(np.random.default_rng(0).poisson(5.0, (N_CELLS, 4)), index=names, columns=list("wxyz"))
    with counts_writer(
        path, obs, pd.DataFrame({"symbol": data.var_names, "selected": True}, index=data.var_names)
    ) as writer:
        writer.append(data.X)
        writer.add_proteins(proteins)
    return path


def trained(kind: str, counts_file) -> dict[str, str]:
    """Return the paths of a model of two epochs."""
    schema, folder = MODEL_TYPES[kind].settings_schema(), counts_file.parent / kind
    settings = {section: {name: s["default"] for name, s in part.items()} for section, part in schema.items()}
    for section in {"pretrain", "train"} & set(settings):
        settings[section]["max_epochs"] = 2
    settings |= {"type": kind, "systems": {"h": "human", "m": "mouse"}}
    counts = read_counts(counts_file)
    model = MODEL_TYPES[kind].load_class().fit(counts, settings, JobContext())
    save_model(model, str(folder / "model.pt"), settings)
    write_table(latent_table(model.latent(counts), counts), folder / "latent.parquet")
    return {"model": str(folder / "model.pt"), "latent": str(folder / "latent.parquet"), "counts": str(counts_file)}


@pytest.mark.parametrize("kind", KINDS)
def test_densities_are_those_of_scvi_tools(counts_file, kind):
    paths, counts = trained(kind, counts_file), read_counts(counts_file)
    numbers = np.random.default_rng(1).integers(3, size=N_CELLS)
    table = counts.obs[["batch", "label"]].astype(str).assign(**{FILE: "r", "number": numbers})
    # Samples are small enough that mixtures are of all their cells.
    assert len(draw_components(numbers, 0)) == N_CELLS
    cells = DensityCells(table, pd.DataFrame(), [])
    found = read_log_densities(cells, {"reference": paths}, ["r"], 0, leave_out_own=False)
    model = MODEL_TYPES[kind].load_class().load(counts_file.parent / kind / "model.pt", counts)
    seen = model._prepared(counts) if kind == "sysvi" else model.registered(counts)
    seen.obs["part"] = numbers.astype(str)
    model.model.differential_abundance(seen, sample_key="part")
    by_hand = seen.obsm["da_log_probs"][["0", "1", "2"]].to_numpy()
    assert np.ptp(by_hand) > 0.1
    assert found == pytest.approx(by_hand, abs=1e-4)
    # The cells alone decide, not the order in which they are read.
    order = np.random.default_rng(2).permutation(N_CELLS)
    shuffled = read_log_densities(
        cells._replace(table=table.iloc[order]), {"reference": paths}, ["r"], 0, leave_out_own=False
    )
    assert shuffled == pytest.approx(found[order], abs=1e-9)
