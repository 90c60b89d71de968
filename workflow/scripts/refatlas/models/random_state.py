"""The state of all generators of random numbers, saved in checkpoints."""

import random
from typing import Any

import numpy as np


def random_state() -> dict[str, Any]:
    """Return the state of all generators of random numbers, as tensors and plain values."""
    import torch

    # scvi-tools draws cells from NumPy's global generator.
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "numpy": (name, keys.tolist(), *rest),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Set all generators of random numbers to a state.

    Those of GPUs are set only if there are as many GPUs as before.
    """
    import torch

    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    random.setstate(state["python"])
