"""What is set before scvi-tools and scArches are imported or used; nothing is set on import."""

import contextlib
import gc
import io
import logging
import os
import warnings
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any

# Shown at every training and of no use here. The first comes from surgery, where the reference's
# layers are frozen by design.
UNHELPFUL_WARNINGS = (
    r"Found \d+ module\(s\) in eval mode",
    "The number of training batches",
    r"`isinstance\(treespec, LeafSpec\)`",
    "Some proteins have all 0 counts in some batches",
    "We recommend using setup_mudata",
    "The lr scheduler dict contains",
    "SCANVI sampler is not available with custom dataloader",
    "early_stopping was automatically disabled due to the use of DDP",
    "The `srun` command is available on your system but is not used",
)


@contextlib.contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Pause garbage collection during a large import.

    What scvi-tools makes on import stays as long as the process; searching it for garbage takes a
    seventh of the import's time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def prepare_scvi_tools() -> None:
    """Let scvi-tools and Lightning train as an ordinary process, without their routine messages.

    Under SLURM, Lightning would otherwise take over process ranks and signals.
    """
    import scvi

    os.environ["SLURM_JOB_NAME"] = "interactive"
    for message in UNHELPFUL_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    scvi.settings.verbosity = logging.WARNING


@cache
def import_scarches() -> ModuleType:
    """Return scArches, which takes 30 s to import, without its warnings of optional packages."""
    import anndata

    # scArches 0.6.1 still imports a function that anndata has renamed.
    anndata.read = anndata.read_h5ad
    with _logging_disabled(), warnings.catch_warnings():
        for category in (SyntaxWarning, FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
        import scarches
    return scarches


@cache
def import_mvtcr_network() -> Any:
    """Return the network of mvTCR's mixture of experts, a class of torch.

    The package is imported directly: scArches' own module of it imports a name that is gone. What else of mvtcr
    0.2.1.2 does not fit is not used, so nothing is patched: AnnData.concatenate in get_latent, and pickles in load.
    """
    # On import, it silences all warnings of the process.
    with _logging_disabled(), warnings.catch_warnings():
        from mvtcr.models.mixture_modules.moe import MoEModelTorch
    return MoEModelTorch


@contextlib.contextmanager
def scarches_silenced() -> Iterator[None]:
    """Drop what scArches prints for every layer that it makes, and its warnings."""
    with _logging_disabled(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextlib.contextmanager
def _logging_disabled() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
