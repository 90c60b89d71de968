"""expiMap (Lotfollahi 2023): each latent dimension is a gene program, with a linear decoder.

The decoder of a program has weights only for the program's genes.
"""

from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData

from refatlas.models.gene_programs import BUNDLED, program_mask, read_gmt
from refatlas.models.interface import JobContext, Settings
from refatlas.models.program_enrichment import Posterior, enrichment_table
from refatlas.models.recorder import training_of
from refatlas.models.scarches_base import ScArchesModel, hidden_layers
from refatlas.models.scarches_saved import term_names
from refatlas.models.scarches_settings import EXPIMAP, TERMS
from refatlas.models.scarches_training import RecordedTrainer, recorded_trainer, trainer_settings
from refatlas.models.scvi_training import start_training
from refatlas.models.typed_counts import count_matrix

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ExpiMap(ScArchesModel):
    """Type expimap. Its latent space has a dimension for each program of enough genes.

    Genes in no program are not used.

    Attributes:
        extra: genes (of the reference), loss, used (whether a gene is in a program), programs
            (names), background (share of each unused gene in the counts of the unused genes).
    """

    settings = EXPIMAP
    library_class = "EXPIMAP"

    @classmethod
    def fit(cls, counts: AnnData, settings: Settings, job: JobContext, base: Any = None) -> "ExpiMap":
        """Return a model trained on the counts of genes in programs; labels are not read.

        Raises:
            InputError: the GMT file is not valid, or no program has enough genes.
        """
        size = settings["model"]
        programs, mask, note = programs_of(counts, settings)
        used = mask.any(axis=0)
        device = start_training(job)
        note += f"; {used.sum()} of {len(used)} genes are in one of them, the others are not used"
        print(note, flush=True)
        model = cls.make(
            counts,
            describe_genes(counts, used, programs),
            condition_key="batch",
            hidden_layer_sizes=hidden_layers(size),
            dr_rate=size["dropout_rate"],
            mask=mask[:, used].astype(np.float32),
            soft_mask=size["soft_mask"],
        )
        recorder = model.train(counts, settings["train"], "train", on_reference=True, job=job)
        model.training = training_of([recorder], device)
        active = int(model.wrapped.nonzero_terms().sum())
        model.training.notes = [note, f"{active} programs are active, the others explained too little"]
        return model

    @classmethod
    def from_pretrained(cls, saved: dict[str, Any], counts: AnnData, where: str) -> Self:
        """Return a model that scArches saved; its mask says which gene is in which program."""
        model = super().from_pretrained(saved, counts, where)
        model.training.notes.append(f"{int(model.wrapped.nonzero_terms().sum())} of its programs are active")
        if saved["terms"] is None:
            model.training.notes.append(f"its programs have no names: {TERMS} is not in its folder")
        return model

    @classmethod
    def describe(cls, saved: dict[str, Any], counts: AnnData) -> dict[str, Any]:
        """Return `extra` of a model that scArches saved, which uses all of its genes."""
        return describe_genes(counts, np.ones(counts.n_vars, dtype=bool), term_names(saved))

    @classmethod
    def make(cls, counts: AnnData, extra: dict[str, Any], **init: Any) -> Self:
        """Return an untrained model for these counts; masks are arrays or tensors."""
        masks = {
            name: np.asarray(init[name], dtype=np.float32)
            for name in ("mask", "ext_mask")
            if init.get(name) is not None
        }
        return super().make(counts, extra, **{**init, **masks})

    @classmethod
    def prepare(cls, counts: AnnData, extra: dict[str, Any]) -> AnnData:
        """Return the cells' counts of genes in programs."""
        return super().prepare(counts[:, extra["used"].numpy()], extra)

    def init(self) -> dict[str, Any]:
        """Return the arguments of the library's class, the mask as a tensor."""
        found = super().init()
        return {**found, "mask": torch.tensor(found["mask"], dtype=torch.bool)}

    def trainer(self, cells: AnnData, settings: Settings, seed: int) -> RecordedTrainer:
        """Return the library's trainer, recorded, with the penalties that the section has."""
        penalties = {name: settings[name] for name in ("alpha", "alpha_l1", "gamma_ext", "beta") if name in settings}
        return recorded_trainer("expiMapTrainer")(
            self.wrapped.model,
            cells,
            condition_key="batch",
            **{"alpha": None, **penalties},
            **trainer_settings(settings, seed),
        )

    def surgery_arguments(self, counts: AnnData, settings: Settings) -> dict[str, Any]:
        """Return the new programs that a query learns; none for a single cell.

        Their independence is a property of two or more cells.
        """
        if settings["n_ext"] == 0 or counts.n_obs < 2:
            return {}
        return {"new_n_ext": settings["n_ext"], "use_hsic": True, "hsic_one_vs_all": True}

    def latent(self, counts: AnnData) -> np.ndarray:
        """Return the posterior mean of the reference's programs, float32.

        Its shape is (n_cells, n_programs). Programs that a query learned are left out: the
        reference does not have them.
        """
        return super().latent(counts)[:, : len(self.extra["programs"])]

    def expected(self, counts: AnnData) -> np.ndarray:
        """Return the decoder's mean at each cell's own depth and batch, shape (n_cells, n_genes).

        Genes in no program have their share in the reference.
        """
        used = self.extra["used"].numpy()
        found = np.empty(counts.shape, dtype=np.float32)
        for genes, shares in ((used, self.expected_shares(counts)), (~used, self.extra["background"].numpy())):
            found[:, genes] = shares * np.asarray(count_matrix(counts)[:, genes].sum(axis=1)).reshape(-1, 1)
        return found

    def program_names(self) -> list[str]:
        """Return the names of all latent dimensions; a query's own are new_1, new_2, …"""
        return [*self.extra["programs"], *(f"new_{i + 1}" for i in range(self.wrapped.n_ext_))]

    def weights(self) -> np.ndarray:
        """Return the decoder's weight of each gene in each program, shape (n_genes, n_programs)."""
        layer = self.wrapped.model.decoder.L0
        parts = [layer.expr_L.weight, *([layer.ext_L.weight] if self.wrapped.n_ext_ else [])]
        return np.concatenate([part.detach().cpu().numpy() for part in parts], axis=1)

    def directions(self) -> np.ndarray:
        """Return the sign of each program's total weight, shape (n_programs,).

        1: a higher score is more expression. -1: less. 0: the program is switched off.
        """
        return np.sign(self.weights().sum(axis=0)).astype(int)

    def posterior(self, counts: AnnData) -> Posterior:
        """Return mean and variance of the posterior of all programs.

        Each has the shape (n_cells, n_programs); means are signed so that more is more expression.
        """
        with torch.no_grad():
            blocks = [self.wrapped.model.get_latent(x, codes, mean_var=True) for x, codes in self.blocks(counts)]
        means, variances = (np.concatenate([block[i].cpu().numpy() for block in blocks]) for i in (0, 1))
        return means * self.directions(), variances

    def tables(
        self, counts: AnnData, reference: AnnData | None = None, settings: Settings | None = None
    ) -> dict[str, pd.DataFrame]:
        """Return the programs, the cells' scores, and which programs distinguish groups.

        programs: index program; genes (selected genes in it), weighted (genes with a weight, 0 if
            switched off), active, direction (of the raw latent dimension).
        scores: index cell; a column for each active program, signed so that more is more
            expression.
        enrichment: index by, group, program; see `program_enrichment.enrichment_table`.
        """
        weighted = (self.weights() != 0).sum(axis=0)
        active, names = weighted > 0, np.array(self.program_names())
        selected = np.pad(np.sum(self.wrapped.mask_, axis=1).astype(int), (0, self.wrapped.n_ext_))
        programs = pd.DataFrame(
            {"genes": selected, "weighted": weighted, "active": active, "direction": self.directions()},
            index=pd.Index(names, name="program"),
        )
        means, variances = (part[:, active] for part in self.posterior(counts))
        scores = pd.DataFrame(means, index=pd.Index(counts.obs_names, name="cell"), columns=names[active])
        others = None
        if reference is not None:
            other_means, other_variances = self.posterior(reference)
            others = other_means[:, active], other_variances[:, active]
        found = enrichment_table(counts, (means, variances), names[active], reference, others)
        return {"programs": programs, "scores": scores, "enrichment": found}

    def figures(self, tables: dict[str, pd.DataFrame]) -> "dict[str, Figure]":
        """Return the programs that distinguish each group, if there is a group."""
        from refatlas.plots import draw_enrichment

        return {"enrichment": draw_enrichment(tables["enrichment"])} if len(tables["enrichment"]) else {}


def programs_of(counts: AnnData, settings: Settings) -> tuple[list[str], np.ndarray, str]:
    """Return the programs, which gene is in which (boolean, n_programs × n_genes), and a note of where they are from.

    They are those of the settings' GMT file, or, in a fold, of the pretrained model that it stands for.

    Raises:
        InputError: the GMT file is not valid, or no program has enough genes.
    """
    size, known = settings["model"], settings.get("programs")
    if known is not None:
        mask = np.zeros((len(known), counts.n_vars), dtype=bool)
        for row, genes in zip(mask, known.values(), strict=True):
            row[genes] = True
        return list(known), mask, f"the {len(known)} programs of the pretrained model"
    path = size["gmt"] or BUNDLED
    programs, mask = program_mask(read_gmt(path), counts.var["symbol"], size["min_genes"], path)
    return programs, mask, f"{len(programs)} programs have {size['min_genes']} selected genes or more"


def describe_genes(counts: AnnData, used: np.ndarray, programs: list[str]) -> dict[str, Any]:
    """Return what a model stores of the reference's genes; see ExpiMap.extra."""
    unused = np.asarray(count_matrix(counts)[:, ~used].sum(axis=0), dtype=np.float64).ravel()
    background = torch.tensor(unused / max(unused.sum(), 1), dtype=torch.float32)
    return {
        "genes": list(counts.var_names),
        "loss": "nb",
        "used": torch.tensor(used),
        "programs": programs,
        "background": background,
    }
