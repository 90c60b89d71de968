"""What is left out of or replaced in models of scvi-tools, because it costs time or fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import scvi
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from refatlas.models.disk_loader import data_loader


class LogFirstStepOnly(Callback):
    """Logs metrics that scvi-tools adds up over an epoch at its first step instead of at every one.

    Logging at every step takes a tenth of the time of small steps.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace the plan's log_dict, which is given the same objects at every step."""
        log, logged = pl_module.log_dict, set()

        def log_dict(metrics: dict[str, Any], **options: Any) -> None:
            moment = (trainer.state.stage, trainer.current_epoch, *metrics)
            if moment not in logged or options.get("on_step"):
                logged.add(moment)
                log(metrics, **options)

        pl_module.log_dict = log_dict  # type: ignore[assignment]  # a plan's method, replaced on purpose


@contextmanager
def skip_unused_dropout(module: Any) -> Iterator[None]:
    """Leave out a decoder's dropout logits, unless its likelihood is zero-inflated.

    scvi-tools computes them for every likelihood, at the cost of the means.
    """
    if not isinstance(getattr(module, "decoder", None), scvi.nn.DecoderSCVI) or module.gene_likelihood == "zinb":
        yield
        return
    unused = module.decoder.px_dropout_decoder
    unused.forward = lambda hidden: None
    try:
        yield
    finally:
        del unused.forward


@contextmanager
def skip_library_sizes() -> Iterator[None]:
    """Let totalVI models be made without the library sizes of their batches.

    scvi-tools measures them, though these models do not use them, and fails for a single cell.
    """
    from scvi.model import _totalvi

    measure = _totalvi._init_library_size
    _totalvi._init_library_size = lambda manager, n_batch: (None, None)
    try:
        yield
    finally:
        _totalvi._init_library_size = measure


def load_from_disk_too(model: Any) -> None:
    """Let a model of scvi-tools be applied also to counts that stay in their file."""
    model._data_loader_cls = data_loader
