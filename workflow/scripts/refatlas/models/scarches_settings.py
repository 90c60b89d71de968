"""Settings of the model types from scArches, as JSON schema; reading them imports no package."""

from typing import Any

from refatlas.models.settings import network, training

# What save() of scArches writes, in the order of their checksum.
SAVED = ("attr.pkl", "model_params.pt", "var_names.csv")
# Names of an expiMap's terms, written by the user: scArches keeps them in the cells' uns, and does not save them.
TERMS = "terms.txt"
# Without a default: what is not set must not become a param of rules.
PRETRAINED: dict[str, Any] = {
    "description": "a model that scArches has saved, used instead of training one",
    "type": ["object", "null"],
    "additionalProperties": False,
    "properties": {
        "path": {"description": "folder that its save() wrote", "type": ["string", "null"]},
        "sha256": {
            "description": "SHA-256 of what `sha256sum attr.pkl model_params.pt var_names.csv` prints in that folder",
            "type": ["string", "null"],
            "pattern": "^[0-9a-f]{64}$",
            "default": None,
        },
        "trust": {"description": "read it without a checksum", "type": "boolean", "default": False},
    },
}
NETWORK = network(n_latent=10, dropout_rate=0.05)


def stage(kl_weight: float = 1.0, weight_decay: float | None = None, **defaults: Any) -> dict[str, dict[str, Any]]:
    """Return the schema of a training section.

    Args:
        kl_weight: default weight of the KL term.
        weight_decay: default; None leaves it out, as surgery must: decay would change the frozen
            weights of the reference.
        defaults: of `refatlas.models.settings.training`.
    """
    settings: dict[str, dict[str, Any]] = {
        **training(**{"batch_size": 128, "lr": 1e-3, "patience": 20, **defaults}),
        "lr_patience": {
            "description": "epochs without a lower loss before the learning rate falls",
            "type": "integer",
            "minimum": 1,
            "default": 13,
        },
        "lr_factor": {
            "description": "what the learning rate is multiplied by then",
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1,
            "default": 0.1,
        },
        "kl_weight": {
            "description": "weight of the KL term after its warm-up",
            "type": "number",
            "minimum": 0,
            "default": kl_weight,
        },
    }
    if weight_decay is not None:
        settings["weight_decay"] = {
            "description": "of the optimizer",
            "type": "number",
            "minimum": 0,
            "default": weight_decay,
        }
    return settings


RECON_LOSS = {
    "description": "distribution of counts; mse takes log-normalised counts",
    "enum": ["nb", "zinb", "mse"],
    "default": "nb",
}
TRVAE_MODEL: dict[str, dict[str, Any]] = {
    "recon_loss": RECON_LOSS,
    "use_mmd": {"description": "align batches by the MMD of their cells", "type": "boolean", "default": True},
    "mmd_on": {
        "description": "layer of the MMD: z is the latent space, y the first layer of the decoder",
        "enum": ["z", "y"],
        "default": "z",
    },
    "mmd_boundary": {
        "description": "compute the MMD only from each of the first N batches to the others; null for all pairs",
        "type": ["integer", "null"],
        "minimum": 1,
        "default": None,
    },
    "beta": {
        "description": "weight of the MMD: more mixes batches better and keeps less of the biology",
        "type": "number",
        "minimum": 0,
        "default": 1.0,
    },
}
TRVAE = {
    "model": {**NETWORK, **TRVAE_MODEL},
    "train": stage(max_epochs=None, kl_warmup=0.25, weight_decay=0.04),
    "surgery": stage(max_epochs=100, patience=10, kl_warmup=0.0),
}
SCPOLI_MODEL: dict[str, dict[str, Any]] = {
    "embedding_dims": {
        "description": "dimensions of a batch's embedding",
        "type": "integer",
        "minimum": 1,
        "default": 5,
    },
    "recon_loss": RECON_LOSS,
}
ETA = {
    "description": "weight of the distance of labelled cells to the prototype of their label",
    "type": "number",
    "minimum": 0,
    "default": 5.0,
}
SCPOLI = {
    "model": {**NETWORK, **SCPOLI_MODEL},
    "pretrain": stage(max_epochs=None, kl_warmup=0.5, kl_weight=0.5, weight_decay=0.04),
    "train": {**stage(max_epochs=20, kl_warmup=0.0, kl_weight=0.5, weight_decay=0.04), "eta": ETA},
    "surgery": stage(max_epochs=100, patience=10, kl_warmup=0.0, kl_weight=0.5),
}
EXPIMAP_MODEL: dict[str, dict[str, Any]] = {
    "gmt": {
        "description": "GMT file of gene programs; null takes the bundled ones (Reactome, human symbols)",
        "type": ["string", "null"],
        "default": None,
    },
    "min_genes": {
        "description": "number of selected genes that a program needs",
        "type": "integer",
        "minimum": 1,
        "default": 12,
    },
    "soft_mask": {
        "description": "let genes join programs that they are not in, with the penalty alpha_l1",
        "type": "boolean",
        "default": False,
    },
    **{name: NETWORK[name] for name in ("n_layers", "n_hidden", "dropout_rate")},
}
PENALTIES: dict[str, dict[str, Any]] = {
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
NEW_PROGRAMS: dict[str, dict[str, Any]] = {
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
EXPIMAP = {
    "model": EXPIMAP_MODEL,
    "train": {**stage(max_epochs=None, kl_warmup=0.25, kl_weight=0.5, weight_decay=0.0), **PENALTIES},
    "surgery": {**stage(max_epochs=100, patience=10, kl_warmup=0.25, kl_weight=0.5), **NEW_PROGRAMS},
}
