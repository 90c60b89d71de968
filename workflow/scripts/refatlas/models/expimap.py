"""expiMap (Lotfollahi 2023): every latent dimension is a gene program, and the decoder is linear
within the programs' genes.
"""

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from refatlas.models.gene_programs import BUNDLED, program_mask, read_gmt
from refatlas.models.scarches_base import NETWORK, ScArchesModel, hidden_layers, recorded, stage, trainer_settings

N_PAIRS = 5000

MODEL = {
    "gmt": {
        "description": "GMT file of gene programs; null takes resources/reactome.gmt (Reactome, human symbols)",
        "type": ["string", "null"],
        "default": None,
    },
    "min_genes": {"description": "selected genes that a program needs", "type": "integer", "minimum": 1, "default": 12},
    "soft_mask": {
        "description": "let genes join programs that they are not in, at the price alpha_l1",
        "type": "boolean",
        "default": False,
    },
    **{name: NETWORK[name] for name in ("n_layers", "n_hidden", "dropout_rate")},
}
PENALTIES = {
    "alpha": {
        "description": "group lasso: how strongly programs that explain little are switched off",
        "type": "number",
        "minimum": 0,
        "default": 0.7,
    },
    "alpha_l1": {
        "description": "with soft_mask: how strongly genes that are not in a program are kept out of it",
        "type": "number",
        "minimum": 0,
        "default": 0.5,
    },
}
NEW_PROGRAMS = {
    "n_ext": {
        "description": "new programs, of any genes, that a query may learn for what the known ones do not explain",
        "type": "integer",
        "minimum": 0,
        "default": 0,
    },
    "gamma_ext": {
        "description": "L1 penalty of the new programs' genes",
        "type": "number",
        "minimum": 0,
        "default": 0.7,
    },
    "beta": {
        "description": "weight of the independence (HSIC) of the new programs from all others",
        "type": "number",
        "minimum": 0,
        "default": 3.0,
    },
}


class ExpiMap(ScArchesModel):
    """Type expimap. Its latent space has a dimension for each program of enough genes; genes in no
    program take no part.

    extra: genes (of the reference), loss, used (whether a gene takes part), programs (names),
    background (share of each other gene in the counts of the others).
    """

    library_class = "EXPIMAP"

    settings: ClassVar[dict[str, dict]] = {
        "model": MODEL,
        "train": {**stage(max_epochs=None, kl_warmup=0.25, kl_weight=0.5, weight_decay=0.0), **PENALTIES},
        "surgery": {**stage(max_epochs=100, patience=10, kl_warmup=0.25, kl_weight=0.5), **NEW_PROGRAMS},
    }

    @classmethod
    def fit(cls, counts, spec: dict, base=None) -> "ExpiMap":
        """Return a model trained on the reference's counts of genes in programs, without a look at
        its labels.
        """
        settings = spec["model"]
        path = settings["gmt"] or BUNDLED
        programs, mask = program_mask(read_gmt(path), counts.var["symbol"], settings["min_genes"], path)
        used = mask.any(axis=0)
        from refatlas.models import scvi_base

        device = scvi_base.prepare(spec)
        note = (
            f"{len(programs)} programs have {settings['min_genes']} selected genes or more; {used.sum()} of {len(used)}"
            " genes are in one of them, the others take no part"
        )
        print(note, flush=True)
        model = cls.make(
            counts,
            describe_genes(counts, used, programs),
            condition_key="batch",
            hidden_layer_sizes=hidden_layers(settings),
            dr_rate=settings["dropout_rate"],
            mask=mask[:, used].astype(np.float32),
            soft_mask=settings["soft_mask"],
        )
        recorder = model.train(
            counts, spec["train"], "train", spec["seed"], on_reference=True, checkpoints=spec.get("checkpoints")
        )
        model.training = scvi_base.record([recorder], device)
        model.training.notes = [
            note,
            f"{int(model.wrapped.nonzero_terms().sum())} programs are active, the others explained too little",
        ]
        return model

    @classmethod
    def make(cls, counts, extra: dict, **init) -> "ExpiMap":
        """Return a model of the library for these counts, not trained; masks come as arrays or
        tensors.
        """
        masks = {
            name: np.asarray(init[name], dtype=np.float32)
            for name in ("mask", "ext_mask")
            if init.get(name) is not None
        }
        return super().make(counts, extra, **{**init, **masks})

    @classmethod
    def prepare(cls, counts, extra: dict):
        """Return the cells' counts of genes in programs."""
        return super().prepare(counts[:, extra["used"].numpy()], extra)

    def init(self) -> dict:
        """Return what the library's model is made from, the mask as a tensor."""
        import torch

        found = super().init()
        return {**found, "mask": torch.tensor(found["mask"], dtype=torch.bool)}

    def trainer(self, cells, settings: dict, seed: int):
        """Return the library's trainer; penalties are those that the section has."""
        penalties = {name: settings[name] for name in ("alpha", "alpha_l1", "gamma_ext", "beta") if name in settings}
        return recorded("expiMapTrainer")(
            self.wrapped.model,
            cells,
            condition_key="batch",
            **{"alpha": None, **penalties},
            **trainer_settings(settings, seed),
        )

    def surgery(self, counts, settings: dict) -> dict:
        """Return the new programs that a query learns, none for a single cell: independence needs
        two.
        """
        if settings["n_ext"] == 0 or counts.n_obs < 2:
            return {}
        return {"new_n_ext": settings["n_ext"], "use_hsic": True, "hsic_one_vs_all": True}

    def latent(self, counts) -> np.ndarray:
        """Return the mean of the posterior of the reference's programs, shape (n_cells,
        n_programs), float32: new ones have no place in the reference.
        """
        return super().latent(counts)[:, : len(self.extra["programs"])]

    def expected(self, counts) -> np.ndarray:
        """Return the decoder's mean at each cell's own depth and batch, shape (n_cells, n_genes);
        genes in no program have their share in the reference.
        """
        used = self.extra["used"].numpy()
        found = np.empty(counts.shape, dtype=np.float32)
        for genes, shares in ((used, self.expected_shares(counts)), (~used, self.extra["background"].numpy())):
            found[:, genes] = shares * np.asarray(counts.X[:, genes].sum(axis=1)).reshape(-1, 1)
        return found

    def program_names(self) -> list[str]:
        """Return the names of all latent dimensions; those that a query has learned are new_1,
        new_2, …
        """
        return [*self.extra["programs"], *(f"new_{i + 1}" for i in range(self.wrapped.n_ext_))]

    def weights(self) -> np.ndarray:
        """Return the decoder's weight of each gene in each program, shape (n_genes, n_programs)."""
        layer = self.wrapped.model.decoder.L0
        parts = [layer.expr_L.weight, *([layer.ext_L.weight] if self.wrapped.n_ext_ else [])]
        return np.concatenate([part.detach().cpu().numpy() for part in parts], axis=1)

    def directions(self) -> np.ndarray:
        """Return for each program 1 if a higher score means more expression in sum, -1 if less, and
        0 if it is switched off, shape (n_programs,).
        """
        return np.sign(self.weights().sum(axis=0)).astype(int)

    def posterior(self, counts) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of the posterior of all programs, each of shape (n_cells,
        n_programs), signed so that more is more expression.
        """
        import torch

        with torch.no_grad():
            blocks = [self.wrapped.model.get_latent(x, codes, mean_var=True) for x, codes in self.blocks(counts)]
        means, variances = (np.concatenate([block[i].cpu().numpy() for block in blocks]) for i in (0, 1))
        return means * self.directions(), variances

    def tables(self, counts, reference=None, spec=None) -> dict:
        """Return the programs, the cells' scores, and which programs tell groups of cells apart.

        programs: index program; genes (selected genes in it), weighted (genes that have a weight, 0
        if switched off), active, direction of the raw latent dimension.
        scores: index cell, a column for each active program, signed so that more is more
        expression.
        enrichment: index by, group, program; see `enrichment`. Of a reference, each label and each
        batch against the rest; of a query, it and each of its batches
        against the reference.
        """
        import pandas as pd

        weighted = (self.weights() != 0).sum(axis=0)
        active, names = weighted > 0, np.array(self.program_names())
        selected = np.pad(np.sum(self.wrapped.mask_, axis=1).astype(int), (0, self.wrapped.n_ext_))
        programs = pd.DataFrame(
            {"genes": selected, "weighted": weighted, "active": active, "direction": self.directions()},
            index=pd.Index(names, name="program"),
        )
        found = self.posterior(counts)
        scores = pd.DataFrame(found[0][:, active], index=pd.Index(counts.obs_names, name="cell"), columns=names[active])
        others = found if reference is None else self.posterior(reference)
        parts = [pd.DataFrame({"by": [], "group": [], "program": [], "probability": [], "bayes_factor": []})]
        for by, group, cells, rest in compared(counts, reference):
            table = enrichment(
                [value[cells][:, active] for value in found],
                [value[rest][:, active] for value in others],
                names[active],
            )
            parts.append(table.assign(by=by, group=group))
        return {
            "programs": programs,
            "scores": scores,
            "enrichment": pd.concat(parts).set_index(["by", "group", "program"]),
        }

    def figures(self, tables: dict) -> dict:
        """Return the programs that tell each group apart, if there is a group."""
        from refatlas.plots import draw_enrichment

        return {"enrichment": draw_enrichment(tables["enrichment"])} if len(tables["enrichment"]) else {}


def describe_genes(counts, used: np.ndarray, programs: list[str]) -> dict:
    """Return what a model must know of the reference's genes; see ExpiMap.extra."""
    import torch

    others = np.asarray(counts.X[:, ~used].sum(axis=0), dtype=np.float64).ravel()
    background = torch.tensor(others / max(others.sum(), 1), dtype=torch.float32)
    return {
        "genes": list(counts.var_names),
        "loss": "nb",
        "used": torch.tensor(used),
        "programs": programs,
        "background": background,
    }


def compared(counts, reference=None) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Yield what groups are made by, a group's name, its cells, and the cells that it is compared
    with; groups without others are left out.
    """
    if reference is not None:
        rest = np.ones(reference.n_obs, dtype=bool)
        yield "query", "all", np.ones(counts.n_obs, dtype=bool), rest
        batches = counts.obs["batch"].astype(str)
        names = batches.unique()
        for batch in names if len(names) > 1 else ():
            yield "batch", batch, (batches == batch).to_numpy(), rest
        return
    for by in (name for name in ("label", "batch") if name in counts.obs):
        groups = counts.obs[by].astype(object)
        for group in groups.dropna().unique():
            cells = (groups == group).to_numpy()
            if not cells.all():
                yield by, str(group), cells, ~cells


def enrichment(cells: list[np.ndarray], others: list[np.ndarray], names: np.ndarray, seed: int = 0):
    """Return for each program the probability that a cell scores higher in it than one of the
    others, and its log Bayes factor; the largest first.

    The exact test of scArches' latent_enrich: the mean over random pairs of the probability that
    one Gaussian exceeds the other (Lotfollahi 2023).

    Args:
        cells, others: means and variances of the posterior, each of shape (n_cells, n_programs).
    """
    import pandas as pd
    from scipy.special import erfc

    random = np.random.default_rng(seed)
    one, two = (random.integers(len(part[0]), size=N_PAIRS) for part in (cells, others))
    higher = 0.5 * erfc((others[0][two] - cells[0][one]) / np.sqrt(2 * (cells[1][one] + others[1][two])))
    probability = higher.mean(axis=0, dtype=np.float64)
    factor = np.log(probability + 1e-12) - np.log(1 - probability + 1e-12)
    table = pd.DataFrame({"program": names, "probability": probability, "bayes_factor": factor})
    return table.sort_values("bayes_factor", ascending=False, key=abs)
