"""mvTCR (Drost 2024): one latent space of expression and of the CDR3s of paired T-cell receptors, given the batch.

A mixture of experts: a cell's place is the mean of what its expression and what its receptor say. The network is that
of the package mvtcr. Training is recorded, stopped and continued as of other types; the package's own loop saves
pickles.
"""

import copy
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from refatlas.errors import InputError
from refatlas.io.atomic import atomic_path
from refatlas.models.array_model import at_depth, batches_of
from refatlas.models.interface import JobContext, Settings, Training
from refatlas.models.library_patches.environment import import_mvtcr_network
from refatlas.models.mvtcr_settings import MVTCR
from refatlas.models.random_state import set_random_state
from refatlas.models.recorder import MIN_VALIDATED_CELLS, Recorder, training_of, warmup_epochs, with_max_epochs
from refatlas.models.scarches_training import validation_cells
from refatlas.models.scvi_training import start_training
from refatlas.models.typed_counts import cell_column, count_matrix
from refatlas.prepare.normalization import log_normalized
from refatlas.receptors.encoding import AMINO_ACID_CODES, encoded_pairs

if TYPE_CHECKING:
    from anndata import AnnData

# Cells that a trained model is applied to at a time.
BLOCK = 500
N_HEADS = 4
# Fewer cells with a pair make no model.
MIN_CELLS = 20
Tensors = tuple[torch.Tensor, ...]


class MvTCR:
    """Type mvtcr.

    Its counts are of cells with a pair alone: obs has alpha and beta, the CDR3s, beside batch.

    Attributes:
        network: of the package mvtcr.
        extra: plain values: genes, batches, model (the section of settings).
        training: the record.
    """

    settings = MVTCR

    def __init__(self, network: Any, extra: dict[str, Any], training: Training | None = None) -> None:
        self.network, self.extra, self.training = network.to(_device()).eval(), extra, training or Training()

    @classmethod
    def make(cls, extra: dict[str, Any]) -> "MvTCR":
        """Return an untrained model."""
        model = extra["model"]
        n_hidden = 2 * -(-model["n_hidden"] // 2)
        layers = {"activation": "leakyrelu", "dropout": model["dropout_rate"], "batch_norm": True}
        tcr = {
            "embedding_size": N_HEADS * model["n_amino_acid_latent"],
            "num_heads": N_HEADS,
            "forward_expansion": 4,
            "encoding_layers": model["n_attention_layers"],
            "decoding_layers": model["n_attention_layers"],
            "dropout": model["dropout_rate"],
            "max_tcr_length": model["max_length"],
            "num_seq_labels": len(AMINO_ACID_CODES),
        }
        hidden = [n_hidden] * model["n_layers"]
        rna = {**layers, "gene_hidden": hidden, "xdim": len(extra["genes"])}
        joint = {
            **layers,
            "hdim": n_hidden,
            "shared_hidden": hidden,
            "zdim": model["n_latent"],
            "num_conditional_labels": len(extra["batches"]),
            "cond_dim": model["n_batch_latent"],
            "cond_input": True,
        }
        network_class = import_mvtcr_network()
        with warnings.catch_warnings():
            # Of torch, on a way to be faster that the package does not take.
            warnings.filterwarnings("ignore", message="enable_nested_tensor")
            return cls(network_class(tcr, rna, joint), extra)

    @classmethod
    def fit(cls, counts: "AnnData", settings: Settings, job: JobContext, base: Any = None) -> "MvTCR":
        """Return a model trained on the reference's cells with a pair; labels are not read.

        Raises:
            InputError: there are too few such cells.
        """
        device = start_training(job)
        if counts.n_obs < MIN_CELLS:
            raise InputError(
                f"type mvtcr needs at least {MIN_CELLS} cells with both chains, and the reference has {counts.n_obs};"
                " leave the model out"
            )
        genes, batches = list(counts.var_names), [str(batch) for batch in batches_of(counts)]
        model = cls.make({"genes": genes, "batches": batches, "model": settings["model"]})
        recorder = model._train(counts, settings["train"], "train", on_reference=True, job=job)
        model.training = training_of([recorder], device)
        return model

    @classmethod
    def load(cls, file: Path, counts: "AnnData | None" = None) -> "MvTCR":
        """Return the model saved in a file; loading runs no code of the file.

        Raises:
            InputError: the counts have other genes.
        """
        saved = torch.load(file, map_location="cpu", weights_only=True)
        if counts is not None and list(counts.var_names) != saved["extra"]["genes"]:
            raise InputError(
                f"{file}: the counts do not have the model's {len(saved['extra']['genes'])} genes in their order; run"
                " build_reference and prepare_query again"
            )
        model = cls.make(saved["extra"])
        model.network.load_state_dict(saved["state"])
        return model

    def save(self, file: Path) -> None:
        """Write the model to one file of tensors and plain values, atomically."""
        state = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        with atomic_path(str(file)) as part, part.open("wb") as stream:
            torch.save({"extra": self.extra, "state": state}, stream)

    def map_query(self, counts: "AnnData", settings: Settings, job: JobContext) -> "MvTCR":
        """Return a model that learned embeddings of the query's batches; this one does not change.

        All else is frozen, also the running means of the normalisation, so that no reference cell moves. New batches
        begin at the mean of the known ones.
        """
        device = start_training(job)
        new = [batch for batch in map(str, batches_of(counts)) if batch not in self.extra["batches"]]
        mapped = self.with_batches(new)
        if not counts.n_obs:
            mapped.training = Training(notes=["no cell has a pair of T-cell receptors, so nothing was mapped"])
            return mapped
        before = mapped.latent(counts)
        recorder = mapped._train(counts, settings["surgery"], "surgery", on_reference=False, job=job)
        mapped.training = training_of([recorder], device)
        mapped.training.mean_shift = float(np.linalg.norm(mapped.latent(counts) - before, axis=1).mean())
        return mapped

    def with_batches(self, new: list[str]) -> "MvTCR":
        """Return a copy that also knows new batches, at the mean of the known ones; only their embeddings can train."""
        network = copy.deepcopy(self.network)
        known = network.cond_emb.weight.data
        weight = torch.cat([known, known.mean(dim=0, keepdim=True).expand(len(new), -1)])
        for parameter in network.parameters():
            parameter.requires_grad = False
        network.cond_emb = nn.Embedding.from_pretrained(weight, freeze=False)
        network.num_conditional_labels = len(weight)
        # Adam moves no weight whose gradients are all 0.
        network.cond_emb.weight.register_hook(lambda gradient: gradient * (_rows(gradient) >= len(known)))
        return MvTCR(network, {**self.extra, "batches": [*self.extra["batches"], *new]})

    def _train(
        self, counts: "AnnData", settings: Settings, stage: str, on_reference: bool, job: JobContext
    ) -> Recorder:
        """Train in place and return the record; training continues from a checkpoint.

        Args:
            on_reference: train all weights, and monitor the loss on a tenth of the cells. A query trains the embeddings
                of its batches alone, on all of its cells.
        """
        settings = with_max_epochs(settings, counts.n_obs)
        valid = np.zeros(counts.n_obs, dtype=bool)
        if on_reference and counts.n_obs >= MIN_VALIDATED_CELLS:
            valid = validation_cells(cell_column(counts, "batch").astype(str), job.seed)
        recorder = Recorder.for_section(
            stage, "loss_validation" if valid.any() else "loss_train", settings, counts.n_obs
        )
        if stage in job.checkpoints.finished:
            recorder.restore(job.checkpoints.finished[stage])
            return recorder
        with job.checkpoints.ending_on_signals():
            _Trainer(self, counts, valid, settings, recorder, job, on_reference).run()
        self.network.eval()
        job.checkpoints.finish(recorder)
        return recorder

    def tensors(self, counts: "AnnData", rows: np.ndarray) -> Tensors:
        """Return expression, codes of both CDR3s, their lengths, and codes of batches, of some cells.

        Shapes: (n_cells, n_genes), (n_cells, 2 * max_length), (n_cells, 2), (n_cells,).

        Raises:
            ValueError: the model does not know a batch.
        """
        obs = counts.obs.iloc[rows]
        codes = pd.Index(self.extra["batches"]).get_indexer(obs["batch"].astype(str))
        if (codes < 0).any():
            raise ValueError(f"the model does not know batch {obs['batch'][codes < 0].iloc[0]!r}; map the cells first")
        pairs, lengths = encoded_pairs(obs["alpha"], obs["beta"], self.extra["model"]["max_length"])
        x = log_normalized(count_matrix(counts)[rows]).toarray().astype(np.float32)
        return tuple(torch.from_numpy(array).to(_device()) for array in (x, pairs, lengths, codes.astype(np.int64)))

    def blocks(self, counts: "AnnData") -> Iterator[Tensors]:
        """Yield the tensors of blocks of cells."""
        for start in range(0, counts.n_obs, BLOCK):
            yield self.tensors(counts, np.arange(start, min(start + BLOCK, counts.n_obs)))

    def latent(self, counts: "AnnData") -> np.ndarray:
        """Return the mean of the posterior, shape (n_cells, n_latent), float32."""
        found = [np.empty((0, self.extra["model"]["n_latent"]), dtype=np.float32)]
        with torch.no_grad():
            for block in self.blocks(counts):
                means = self.network(*block)[1]
                found.append(self.network.get_latent_from_z(means).cpu().numpy())
        return np.concatenate(found)

    def expected(self, counts: "AnnData") -> np.ndarray:
        """Return the decoder's expression at the cells' depth and batch, shape (n_cells, n_genes)."""
        with torch.no_grad():
            found = []
            for block in self.blocks(counts):
                z = self.network.get_latent_from_z(self.network(*block)[1])
                found.append(self.network.predict_transcriptome(z, block[3]).cpu().numpy())
        return at_depth(np.concatenate(found), counts)

    def predict(self, counts: "AnnData") -> "pd.DataFrame | None":
        """Return None: no classifier."""
        return None

    def batches(self) -> list[str]:
        """Return the batches that the model knows."""
        return list(self.extra["batches"])


class _Trainer:
    """Epochs of one stage, between checkpoints."""

    def __init__(
        self,
        model: MvTCR,
        counts: "AnnData",
        valid: np.ndarray,
        settings: Settings,
        recorder: Recorder,
        job: JobContext,
        on_reference: bool,
    ) -> None:
        self.model, self.network, self.counts, self.settings = model, model.network, counts, settings
        self.recorder, self.job, self.on_reference = recorder, job, on_reference
        self.train_rows, self.valid_rows = np.flatnonzero(~valid), np.flatnonzero(valid)
        self.random = np.random.default_rng(job.seed)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=settings["lr"])
        self.weights = _sampling_weights(counts, self.train_rows) if settings.get("balance") else None

    def run(self) -> None:
        """Train until the recorder says that training has converged, or the epochs end."""
        checkpoints, stage, n_epochs = self.job.checkpoints, self.recorder.stage, self.settings["max_epochs"]
        found = checkpoints.state_of(stage)
        if found:
            self.recorder.restore(found["recorder"])
        self.recorder.start()
        if found:
            self._restore(found)
        for epoch in range(found["epoch"] if found else 0, n_epochs):
            self.epoch = epoch
            checkpoints.at_epoch_start(stage, self._state)
            # In surgery, the reference's normalisation and weights stay as they are.
            self.network.train(self.on_reference)
            losses = self._epoch(self._minibatches(), "train", epoch)
            if len(self.valid_rows):
                self.network.eval()
                with torch.no_grad():
                    parts = np.array_split(self.valid_rows, -(-len(self.valid_rows) // BLOCK))
                    losses |= self._epoch(parts, "validation", epoch)
            self.recorder.take(epoch + 1, n_epochs, losses)
            if self.recorder.converged:
                break

    def _minibatches(self) -> list[np.ndarray]:
        """Return the rows of minibatches of nearly equal size; none is of a single cell unless there is only one."""
        rows = self.train_rows
        drawn = (
            self.random.permutation(rows)
            if self.weights is None
            else self.random.choice(rows, len(rows), p=self.weights)
        )
        return np.array_split(drawn, max(-(-len(rows) // self.settings["batch_size"]), 1))

    def _epoch(self, parts: list[np.ndarray], name: str, epoch: int) -> dict[str, float]:
        """Return the mean losses over minibatches; of training ones, the weights are moved."""
        sums, n_cells = np.zeros(4), 0
        for rows in parts:
            losses = self._losses(self.model.tensors(self.counts, rows), epoch)
            if name == "train":
                self.optimizer.zero_grad()
                losses[0].backward()
                self.optimizer.step()
                self.job.checkpoints.end_if_requested()
            values = np.array([loss.item() for loss in losses])
            if not np.isfinite(values).all():
                raise FloatingPointError(f"{self.recorder.stage}: the loss is {values[0]} in epoch {epoch + 1}")
            sums, n_cells = sums + values * len(rows), n_cells + len(rows)
        names = ("loss", "rna_loss", "tcr_loss", "kl")
        return {f"{kind}_{name}": float(value) for kind, value in zip(names, sums / n_cells, strict=True)}

    def _losses(self, tensors: Tensors, epoch: int) -> Tensors:
        """Return the loss of a mixture of experts (Drost 2024), and its terms: each expert rebuilds both views."""
        x, pairs, lengths, batches = tensors
        _, means, logvars, expression, sequences = self.network(x, pairs, lengths, batches)
        half = pairs.shape[1] // 2
        # The decoder is given a letter and says the next one: the first of each chain is not said.
        said = torch.cat([pairs[:, 1:half], pairs[:, half + 1 :]], dim=1).flatten()
        rna = _mean(nn.functional.mse_loss(found, x) for found in expression)
        tcr = _mean(
            nn.functional.cross_entropy(found.flatten(end_dim=1), said, ignore_index=AMINO_ACID_CODES["_"])
            for found in sequences
        )
        kl = _mean(
            0.5 * (logvar.exp() + mean**2 - 1 - logvar).sum(dim=1).mean()
            for mean, logvar in zip(means, logvars, strict=True)
        )
        s, warmup = self.settings, warmup_epochs(self.settings)
        kl_weight = s["kl_weight"] * (min((epoch + 1) / warmup, 1.0) if warmup else 1.0)
        return s["rna_weight"] * rna + s["tcr_weight"] * tcr + kl_weight * kl, rna, tcr, kl

    def _state(self) -> dict[str, Any]:
        return {
            "stage": self.recorder.stage,
            "epoch": self.epoch,
            "minibatches": 0,
            "model": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": json.dumps(self.random.bit_generator.state),
            "recorder": self.recorder.state(),
        }

    def _restore(self, found: dict[str, Any]) -> None:
        self.network.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.random.bit_generator.state = json.loads(found["order"])
        set_random_state(found["random"])


def _mean(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(terms)).mean()


def _sampling_weights(counts: "AnnData", rows: np.ndarray) -> np.ndarray:
    """Return how often each cell is drawn: of a clonotype of n cells, by 1 / log(n / 10 + 1), as in mvTCR."""
    obs = counts.obs.iloc[rows]
    names = obs["alpha"].astype(str) + "_" + obs["beta"].astype(str)
    weights = 1 / np.log(names.map(names.value_counts()).to_numpy(dtype=float) / 10 + 1)
    found: np.ndarray = weights / weights.sum()
    return found


def _rows(gradient: torch.Tensor) -> torch.Tensor:
    return torch.arange(len(gradient), device=gradient.device)[:, None]


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
