"""Settings of the model type mvtcr, as JSON schema; reading them imports no package."""

from typing import Any

from refatlas.models.settings import network, training


def _weight(description: str, default: float) -> dict[str, Any]:
    return {"description": description, "type": "number", "minimum": 0, "default": default}


def _whole(description: str, default: int, most: int) -> dict[str, Any]:
    return {"description": description, "type": "integer", "minimum": 1, "maximum": most, "default": default}


LOSS: dict[str, dict[str, Any]] = {
    "rna_weight": _weight("weight of the reconstruction of expression", 1.0),
    "tcr_weight": _weight("weight of the reconstruction of CDR3s", 0.1),
    "kl_weight": _weight("weight of the KL term after its warm-up", 1e-4),
}
MVTCR: dict[str, dict[str, dict[str, Any]]] = {
    "model": {
        **network(n_latent=20, dropout_rate=0.1),
        "n_batch_latent": _whole("dimensions of the embedding of batches", 10, 1000),
        "n_amino_acid_latent": _whole("dimensions of the embedding of amino acids, times four attention heads", 8, 256),
        "n_attention_layers": _whole("layers of the transformers that read and write CDR3s", 1, 20),
        "max_length": _whole("longest CDR3; a cell with a longer one counts as one without a pair", 30, 100),
    },
    "train": {
        **training(max_epochs=150, batch_size=128, lr=1e-3, patience=30, kl_warmup=0.3),
        **LOSS,
        "balance": {
            "description": "draw cells of large clonotypes less often, as mvTCR does",
            "type": "boolean",
            "default": True,
        },
    },
    "surgery": {**training(max_epochs=50, batch_size=128, lr=1e-2, patience=10, kl_warmup=0.0), **LOSS},
    "transfer": {"k": _whole("neighbours whose labels are weighed", 15, 1000)},
}
