"""SysVI (Hrovatin 2023): one latent space of systems that differ strongly, such as species, organoid and tissue.

It is trained on log-normalised counts. A system is what a whole dataset or query is of; its batches are told apart
within it. What a cell looks like in another system, encoded again, must come to lie where the cell lies. Query mapping
is by surgery, of batches of a known system.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import anndata as ad
import numpy as np
import pandas as pd
import scvi
import torch
from anndata import AnnData

from refatlas.errors import InputError, listed
from refatlas.models.array_model import at_depth
from refatlas.models.interface import JobContext, Settings, Training
from refatlas.models.library_patches.environment import prepare_scvi_tools
from refatlas.models.recorder import training_of, with_max_epochs
from refatlas.models.scvi_base import ScviToolsModel, latent_of
from refatlas.models.scvi_settings import SYSVI
from refatlas.models.scvi_training import start_training, train
from refatlas.models.typed_counts import cell_column, count_matrix
from refatlas.prepare.normalization import log_normalized

# Layer norm instead of batch norm, which surgery would move: scvi-tools does not freeze it in this class.
LAYERS = {"use_batch_norm": False, "use_layer_norm": True}
COVARIATES = "extra_categorical_covs"


class SystemVI(ScviToolsModel):
    """Type sysvi. The attribute systems_ of its model has the system of each dataset and query that it knows."""

    settings = SYSVI
    scvi_class = scvi.external.SysVI

    def __init__(self, model: Any, training: Training | None = None) -> None:
        super().__init__(model, training)
        model.module.n_latent = model.module.encoder.mean_encoder.out_features

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "SystemVI":
        """Return a model trained on the reference's counts; labels are not read.

        The setting `systems` has the system of each dataset.

        Raises:
            InputError: all datasets are of one system.
        """
        device, systems = start_training(job), dict(settings["systems"])
        require_systems(systems)
        cells = with_systems(counts, systems, sorted(set(systems.values())))
        cls.scvi_class.setup_anndata(cells, batch_key="system", categorical_covariate_keys=["batch"])
        model = cls.scvi_class(cells, **settings["model"], encoder_decoder_kwargs=LAYERS)
        model.systems_ = systems
        section = with_max_epochs(settings["train"], counts.n_obs)
        return cls(model, training_of([train(model, section, "sysvi", on_reference=True, job=job)], device))

    @classmethod
    def load(cls, file: Path, counts: AnnData) -> Self:
        """Return the model saved in a file, with the counts that it was trained on or mapped to."""
        prepare_scvi_tools()
        saved = torch.load(file, map_location="cpu", weights_only=False)["attr_dict"]
        known = saved["registry_"]["field_registries"]["batch"]["state_registry"]["categorical_mapping"]
        cells = with_systems(counts, saved["systems_"], list(known))
        return cls(cls.scvi_class.load(str(Path(file).parent), adata=cells))

    def latent(self, counts: AnnData) -> np.ndarray:
        """Return the mean of the posterior, shape (n_cells, n_latent), float32."""
        return latent_of(self.model, self._prepared(counts))

    def posterior(self, counts: AnnData) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the cells' normal posteriors, each of shape (n_cells, n_latent)."""
        found: tuple[np.ndarray, np.ndarray] = self.model.get_latent_representation(
            self._prepared(counts), return_dist=True
        )
        return found

    def query_model(self, counts: AnnData, settings: Settings | None = None) -> Any:
        """Return an untrained model of scvi-tools with weights for the query's batches.

        The setting `systems` has the system of the query.

        Raises:
            InputError: it is missing, or the reference knows no such system.
        """
        given, known = (settings or {}).get("systems", {}), self._systems()
        for name, system in given.items():
            if system not in known:
                raise InputError(
                    f"{name!r} is of the system {system!r}, and the model knows {listed(known)} alone; a query can only"
                    " be mapped by sysvi if the reference has cells of its system: correct the column system"
                )
        systems = self.model.systems_ | given
        with warnings.catch_warnings():
            # The VampPrior is that of the reference: where the query's begins does not matter.
            warnings.filterwarnings("ignore", message="The maximum index in pseudoinputs_data_indices")
            query = self.scvi_class.load_query_data(with_systems(counts, systems, known), self.model)
        query.systems_, query.module.n_latent = systems, self.model.module.n_latent
        n_new = len(batches_of_model(query)) - len(self.batches())
        train_new_weights_only(query.module, self.model.module, n_new)
        return query

    def expected(self, counts: AnnData) -> np.ndarray:
        """Return the decoder's mean at the cells' depth, system and batch, shape (n_cells, n_genes)."""
        return at_depth(decoded(self.model, self._prepared(counts)), counts)

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return batches_of_model(self.model)

    def _systems(self) -> list[str]:
        """Return the systems that the model knows, in the order of its weights."""
        return [str(s) for s in self.model.adata_manager.get_state_registry("batch").categorical_mapping]

    def _prepared(self, counts: AnnData) -> AnnData:
        return with_systems(counts, self.model.systems_, self._systems())


def batches_of_model(model: Any) -> list[str]:
    """Return the batches of a model of scvi-tools, in the order of its weights."""
    return [str(b) for b in model.adata_manager.get_state_registry(COVARIATES).mappings["batch"]]


def require_systems(systems: Mapping[str, str]) -> None:
    """Raise an InputError unless datasets are of at least two systems.

    Args:
        systems: of each dataset.
    """
    if len(set(systems.values())) < 2:
        raise InputError(
            f"type sysvi brings systems together, and all datasets are of {listed(sorted(set(systems.values())))};"
            " name at least two in the column system of the reference's sheet, or use type scvi"
        )


def with_systems(counts: AnnData, systems: Mapping[str, str], known: list[str]) -> AnnData:
    """Return log-normalised cells with the columns batch and system.

    Args:
        counts: cells × genes.
        systems: of each dataset and query, or of each batch.
        known: all systems, in order.

    Raises:
        InputError: the system of a batch is not known.
    """
    batch = cell_column(counts, "batch").astype(str)
    of_batch = {name: systems.get(name, systems.get(name.split(":", 1)[0])) for name in batch.unique()}
    if unknown := [name for name, system in of_batch.items() if system is None]:
        raise InputError(
            f"the system of {listed(unknown)} is not known; name it in the column system of the sheet of the queries"
        )
    system = pd.Categorical(batch.map(of_batch), categories=known)
    return ad.AnnData(
        log_normalized(count_matrix(counts)),
        obs=pd.DataFrame({"batch": batch.astype("category"), "system": system}, index=counts.obs_names),
        var=pd.DataFrame(index=counts.var_names),
    )


def train_new_weights_only(query: torch.nn.Module, reference: torch.nn.Module, n_new: int) -> None:
    """Freeze all weights of a model for surgery but those of the query's batches.

    scvi-tools leaves the weights of all systems and of the reference's batches free, which the query's system, the
    cycle loss and the VampPrior would move, and the latent space of the reference with them.

    Args:
        query: the module of the new model, whose further weights are the last ones.
        reference: that of the reference.
        n_new: number of the query's batches.
    """
    known = {name: parameter.shape for name, parameter in reference.named_parameters()}
    for name, parameter in query.named_parameters():
        new = torch.ones_like(parameter)
        new[tuple(slice(0, size) for size in known[name])] = 0
        # A single batch had no weights yet: it must go on without.
        unused = (..., slice(known[name][-1], parameter.shape[-1] - n_new))
        parameter.data[unused], new[unused] = 0, 0
        if name.startswith("prior."):
            # Cells of the VampPrior are of the reference's batches.
            parameter.data *= 1 - new
        parameter.requires_grad_(bool(new.any()) and not name.startswith("prior."))
        if parameter.requires_grad:
            parameter.register_hook(lambda gradient, new=new: gradient * new.to(gradient.device))


@torch.inference_mode()
def decoded(model: Any, cells: AnnData) -> np.ndarray:
    """Return the mean of log-normalised expression at the posterior mean of cells, shape (n_cells, n_genes).

    Args:
        model: of scvi-tools. cells: of `with_systems`.
    """
    model.module.eval()
    found = []
    for tensors in model._make_data_loader(adata=model._validate_anndata(cells)):
        given = model.module._get_inference_input(tensors)
        latent = model.module.inference(**given)["qz"].loc
        covariates = {name: given[name] for name in ("batch_index", "cat_covs", "cont_covs")}
        found.append(model.module.generative(z=latent, **covariates, compute_cycle=False)["px"].loc.cpu().numpy())
    return np.concatenate(found)
