"""Settings of the model types from scvi-tools, as JSON schema; reading them imports no package."""

from typing import Any

from refatlas.models.settings import network, training

PRETRAINED: dict[str, Any] = {
    "description": "a pretrained model of scvi-tools, used instead of training one",
    "type": ["object", "null"],
    "additionalProperties": False,
    "default": None,
    "properties": {
        "path": {"description": "folder that holds its model.pt", "type": ["string", "null"]},
        "hub": {
            "description": "OWNER/NAME of a repository on the Hugging Face Hub with its model.pt, in place of path",
            "type": ["string", "null"],
        },
        "revision": {"description": "commit, tag or branch of that repository", "type": ["string", "null"]},
        "sha256": {
            "description": "checksum that model.pt must have, because loading it may run any code",
            "type": ["string", "null"],
            "pattern": "^[0-9a-f]{64}$",
            "default": None,
        },
        "trust": {"description": "load it without a checksum", "type": "boolean", "default": False},
    },
}
VAE: dict[str, dict[str, Any]] = {
    **network(n_latent=20, dropout_rate=0.1),
    "gene_likelihood": {"description": "distribution of counts", "enum": ["nb", "zinb", "poisson"], "default": "nb"},
}
SCVI = {
    "model": VAE,
    "train": training(max_epochs=None, batch_size=128, lr=1e-3, patience=15, kl_warmup=0.25),
    "surgery": training(max_epochs=100, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
}
N_PER_LABEL = {
    "description": "labelled cells of each label seen in an epoch; null for all",
    "type": ["integer", "null"],
    "minimum": 1,
    "default": 100,
}
SCANVI = {
    "model": VAE,
    "pretrain": training(max_epochs=None, batch_size=128, lr=1e-3, patience=15, kl_warmup=0.25),
    "train": {
        **training(max_epochs=20, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
        "n_samples_per_label": N_PER_LABEL,
    },
    "surgery": training(max_epochs=100, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
}
HIDE_PROTEINS = {
    "description": (
        "share of the cells with proteins that are trained on a second time without them, so that queries without"
        " proteins are mapped well"
    ),
    "type": "number",
    "minimum": 0,
    "maximum": 1,
    "default": 0.5,
}
TOTALVI_OUTPUTS: dict[str, dict[str, Any]] = {
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
TOTALVI = {
    "model": {
        **VAE,
        "n_hidden": {**VAE["n_hidden"], "default": 256},
        "dropout_rate": {**VAE["dropout_rate"], "default": 0.2},
        "gene_likelihood": {"description": "distribution of counts of RNA", "enum": ["nb", "zinb"], "default": "nb"},
    },
    "train": {
        **training(max_epochs=None, batch_size=256, lr=4e-3, patience=45, kl_warmup=0.25),
        "hide_proteins": HIDE_PROTEINS,
    },
    "surgery": training(max_epochs=200, batch_size=256, lr=4e-3, patience=20, kl_warmup=0.0),
    "outputs": TOTALVI_OUTPUTS,
}
# Defaults of scvi-tools, except for the number of epochs; over all of them the weight of the KL term grows.
DRVI = {
    "model": {
        **network(n_latent=32, dropout_rate=0.1),
        "n_layers": {**VAE["n_layers"], "default": 1},
        "gene_likelihood": {
            "description": "distribution of counts; pnb is nb with mean and dispersion in logarithms",
            "enum": ["pnb", "nb", "zinb", "poisson"],
            "default": "pnb",
        },
        "split_aggregation": {
            "description": "how what the dimensions of the latent space say of a gene is put together",
            "enum": ["logsumexp", "mean"],
            "default": "logsumexp",
        },
    },
    "train": training(max_epochs=None, batch_size=128, lr=1e-3, patience=15, kl_warmup=1.0),
    "surgery": training(max_epochs=100, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0),
}


def _without_warmup(section: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return a training section of SysVI, which scvi-tools trains with the whole KL term from the first epoch."""
    kept = {name: setting for name, setting in section.items() if name != "kl_warmup"}
    return {**kept, "cycle_weight": CYCLE_WEIGHT}


CYCLE_WEIGHT = {
    "description": (
        "weight of the cycle loss: how far a cell may move in the latent space when it is decoded as of another system"
        " and encoded again"
    ),
    "type": "number",
    "exclusiveMinimum": 0,
    "default": 2.0,
}
SYSVI = {
    "model": {
        **network(n_latent=15, dropout_rate=0.1),
        "n_hidden": {**VAE["n_hidden"], "default": 256},
        "prior": {
            "description": "prior of the latent space: a mixture learned with the model (VampPrior), or one normal",
            "enum": ["vamp", "standard_normal"],
            "default": "vamp",
        },
        "n_prior_components": {
            "description": "components of the VampPrior",
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 5,
        },
    },
    "train": _without_warmup(training(max_epochs=None, batch_size=128, lr=1e-3, patience=15, kl_warmup=0.0)),
    "surgery": _without_warmup(training(max_epochs=100, batch_size=128, lr=1e-3, patience=10, kl_warmup=0.0)),
}


def _square_root(setting: dict[str, Any], of: str) -> dict[str, Any]:
    """Return a setting of a size that is chosen by another one if it is null."""
    return {
        **setting,
        "description": f"{setting['description']}; null takes the square root of {of}",
        "type": ["integer", "null"],
        "default": None,
    }


PEAKVI = {
    "model": {
        **network(n_latent=20, dropout_rate=0.1),
        "n_latent": _square_root(VAE["n_latent"], "n_hidden"),
        "n_hidden": _square_root(VAE["n_hidden"], "the number of peaks"),
    },
    "train": training(max_epochs=None, batch_size=128, lr=1e-4, patience=50, kl_warmup=0.1),
    "surgery": training(max_epochs=200, batch_size=128, lr=1e-4, patience=20, kl_warmup=0.0),
}
