"""totalVI (Gayoso 2021): one latent space of RNA and proteins, which imputes proteins that were not
measured; query mapping by architecture surgery.

A model that has seen every cell with its proteins leans on them, and misplaces queries that have
none. So it also sees a part of the cells without
them, as further batches; a query's batches without proteins begin surgery with what was learned for
these.
"""

from typing import ClassVar

import numpy as np

from refatlas.errors import InputError
from refatlas.models.settings import VAE, training

HIDDEN = "|proteins hidden"
SETUP = {"protein_expression_obsm_key": "proteins", "protein_names_uns_key": "protein_names"}
MODEL = {
    **VAE,
    "n_hidden": {**VAE["n_hidden"], "default": 256},
    "dropout_rate": {**VAE["dropout_rate"], "default": 0.2},
    "gene_likelihood": {"description": "distribution of counts of RNA", "enum": ["nb", "zinb"], "default": "nb"},
}
HIDE = {
    "hide_proteins": {
        "description": (
            "share of the cells with proteins that are trained on a second time without them, for the sake of queries"
            " without proteins"
        ),
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.5,
    },
}
OUTPUTS = {
    "rna": {"description": "write denoised RNA too", "type": "boolean", "default": False},
    "n_samples": {
        "description": "draws from the latent posterior that denoised values are the mean of",
        "type": "integer",
        "minimum": 1,
        "default": 10,
    },
    "background": {
        "description": "keep the background of unbound antibodies in proteins, as a measurement has it",
        "type": "boolean",
        "default": False,
    },
}


class TotalVI:
    """Type totalvi. Its class from scvi-tools is made on first use, so that reading the settings
    costs no import.
    """

    settings: ClassVar[dict[str, dict]] = {
        "model": MODEL,
        "train": {**training(max_epochs=None, batch_size=256, lr=4e-3, patience=45, kl_warmup=0.25), **HIDE},
        "surgery": training(max_epochs=200, batch_size=256, lr=4e-3, patience=20, kl_warmup=0.0),
        "outputs": OUTPUTS,
    }

    @classmethod
    def fit(cls, counts, spec: dict, base=None):
        """Return a model trained on the reference's counts of RNA and proteins, without a look at
        its labels.
        """
        from refatlas.models import scvi_base

        device, scvi_class = scvi_base.prepare(spec), _scvi_class()
        shown = with_hidden_proteins(counts, spec["train"]["hide_proteins"], spec["seed"])
        scvi_class.setup_anndata(shown, batch_key="batch", **SETUP)
        model = scvi_class(shown, **architecture(spec["model"]))
        recorder = scvi_base.train(
            model,
            scvi_base.epochs(spec["train"], counts.n_obs),
            "totalvi",
            on_reference=True,
            checkpoints=spec.get("checkpoints"),
        )
        return _model_class()(model, scvi_base.record([recorder], device))

    @classmethod
    def from_pretrained(cls, saved: dict, counts, where: str):
        """Return a model made elsewhere, of `pretrained.read_saved`, as the reference model of
        these counts, whose proteins are the model's in its order.
        """
        return _model_class().from_pretrained(saved, counts, where)

    @classmethod
    def load(cls, file, counts):
        """Return the model saved in a file."""
        return _model_class().load(file, counts)


def architecture(settings: dict) -> dict:
    """Return totalVI's own names for the settings, and what makes it fit for surgery: layer norm,
    and the batch given to the encoder.
    """
    layers, dropout = settings["n_layers"], settings["dropout_rate"]
    return {
        "n_latent": settings["n_latent"],
        "n_hidden": settings["n_hidden"],
        "gene_likelihood": settings["gene_likelihood"],
        "n_layers_encoder": layers,
        "n_layers_decoder": layers,
        "dropout_rate_encoder": dropout,
        "dropout_rate_decoder": dropout,
        "use_layer_norm": "both",
        "use_batch_norm": "none",
        "encode_covariates": True,
    }


def with_hidden_proteins(counts, share: float, seed: int):
    """Return counts followed by a share of those cells that have proteins once more, without them
    and as batches of their own.
    """
    import anndata as ad

    taken = [batch for batch in counts.obs["batch"].astype(str).unique() if batch.endswith(HIDDEN)]
    if taken:
        raise InputError(f"batch {taken[0]!r} ends as batches of hidden proteins do ({HIDDEN!r}); rename it")
    measured = np.flatnonzero(counts.obsm["proteins"].any(axis=1))
    drawn = np.sort(np.random.default_rng(seed).permutation(measured)[: round(share * len(measured))])
    if len(drawn) == 0:
        return counts
    cells = ad.AnnData(
        counts.X, obs=counts.obs[["batch"]].astype(str), var=counts.var, obsm={"proteins": counts.obsm["proteins"]}
    )
    hidden = cells[drawn].copy()
    hidden.obs["batch"] += HIDDEN
    hidden.obs_names += HIDDEN
    hidden.obsm["proteins"][:] = 0
    both = ad.concat([cells, hidden], merge="same")
    both.uns["protein_names"] = counts.uns["protein_names"]
    return both


def begin_as_hidden(query, reference, bare: list[str]):
    """Return a query's untrained model of scvi-tools with the weights of the first batch of hidden
    proteins for some of its batches, in place of random ones.

    Weights that belong to batches are the last along those axes that grew with the number of
    batches.

    Args:
        reference: the model of scvi-tools that the query is mapped onto. bare: the query's batches
            without proteins.
    """
    known = _registered_batches(reference)
    hidden = [place for place, batch in enumerate(known) if batch.endswith(HIDDEN)]
    if not hidden:
        return query
    places, weights, before = (
        [_registered_batches(query).index(batch) for batch in bare],
        query.module.state_dict(),
        reference.module.state_dict(),
    )
    for name, values in weights.items():
        for axis in range(values.ndim):
            shift = before[name].shape[axis] - len(known)
            if values.shape[axis] > before[name].shape[axis]:
                for place in places:
                    values.select(axis, shift + place).copy_(values.select(axis, shift + hidden[0]).clone())
    return query


def _registered_batches(model) -> list[str]:
    return [str(batch) for batch in model.adata_manager.get_state_registry("batch").categorical_mapping]


def _scvi_class() -> type:
    """Return TOTALVI of scvi-tools, which would otherwise measure libraries that it does not use,
    and fail on a query of one cell in doing so.
    """
    from scvi.model import _totalvi

    _totalvi._init_library_size = lambda manager, n_batch: (None, None)
    return _totalvi.TOTALVI


def _model_class() -> type:
    from refatlas.models import scvi_base
    from refatlas.models.denoised_proteins import denoised_tables, measured_proteins

    class TotalVIModel(scvi_base.ScviToolsModel):
        scvi_class, setup = _scvi_class(), SETUP

        def batches(self) -> list[str]:
            """Return the batches that the model knows, without those of hidden proteins."""
            return [batch for batch in super().batches() if not batch.endswith(HIDDEN)]

        def query_model(self, counts):
            """Return an scvi-tools model with weights for the query's batches, not yet trained."""
            measured = measured_proteins(counts).any(axis=1)
            return begin_as_hidden(super().query_model(counts), self.model, list(measured.index[~measured]))

        def expected(self, counts):
            """Return the decoder's mean of RNA at each cell's own depth and batch, shape (n_cells,
            n_genes).
            """
            return self.model.get_normalized_expression(counts, library_size="latent", return_numpy=True)[0]

        def tables(self, counts, reference=None, spec=None):
            """Return `proteins` (imputed where not measured), `protein_facts`, and `rna` if the
            settings ask for it.
            """
            outputs = spec["outputs"] if spec else {name: setting["default"] for name, setting in OUTPUTS.items()}
            return denoised_tables(self.model, counts, counts if reference is None else reference, outputs)

    return TotalVIModel
