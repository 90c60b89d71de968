"""Settings that several model types share, as JSON schema with defaults."""

from typing import Any


def training(
    max_epochs: int | None, batch_size: int, lr: float, patience: int, kl_warmup: float
) -> dict[str, dict[str, Any]]:
    """Return the schema of a training section with a type's defaults."""
    return {
        "max_epochs": {
            "description": "most epochs; null chooses by the number of cells",
            "type": ["integer", "null"],
            "minimum": 1,
            "default": max_epochs,
        },
        "batch_size": {"description": "cells in a minibatch", "type": "integer", "minimum": 2, "default": batch_size},
        "lr": {"description": "learning rate", "type": "number", "exclusiveMinimum": 0, "maximum": 1, "default": lr},
        "patience": {
            "description": "epochs without a decrease of the monitored loss before training stops",
            "type": "integer",
            "minimum": 1,
            "default": patience,
        },
        "min_delta": {
            "description": "smallest decrease of the loss that counts, as a share of it",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": 0.0001,
        },
        "kl_warmup": {
            "description": "share of max_epochs over which the weight of the KL term grows to 1",
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "default": kl_warmup,
        },
    }


def network(n_latent: int, dropout_rate: float) -> dict[str, dict[str, Any]]:
    """Return the schema of an autoencoder's size with a type's defaults."""
    return {
        "n_latent": {
            "description": "dimensions of the latent space",
            "type": "integer",
            "minimum": 2,
            "maximum": 10000,
            "default": n_latent,
        },
        "n_layers": {
            "description": "hidden layers of encoder and decoder",
            "type": "integer",
            "minimum": 1,
            "maximum": 100,
            "default": 2,
        },
        "n_hidden": {
            "description": "nodes of a hidden layer",
            "type": "integer",
            "minimum": 1,
            "maximum": 100000,
            "default": 128,
        },
        "dropout_rate": {
            "description": "share of nodes dropped in training",
            "type": "number",
            "minimum": 0,
            "exclusiveMaximum": 1,
            "default": dropout_rate,
        },
    }
