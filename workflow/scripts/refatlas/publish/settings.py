"""The section `publish` of the configuration. Light: Snakemake imports it at every start."""

import re
from typing import Any
from urllib.parse import urlsplit

from refatlas.errors import InputError, shown
from refatlas.models.registry import MODEL_TYPES

REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
# Classes of scvi-tools that load an AnnData without counts. TOTALVI does so only for MuData.
HUB_CLASSES = ("SCVI", "SCANVI")
REMEDIES = {
    "huggingface": "add huggingface: {repo: OWNER/NAME}",
    "zenodo": "add zenodo: {}, which takes the defaults: a draft on https://sandbox.zenodo.org",
}


def publish_settings(config: dict[str, Any], service: str) -> dict[str, Any]:
    """Return the settings of "huggingface" or "zenodo".

    Raises:
        InputError: there are none, or they have no valid repository or address.
    """
    where, settings = f"config: publish: {service}", config["publish"][service]
    if settings is None:
        raise InputError(
            f"{where} is not set, so that publish_{service} has no place to publish to; {REMEDIES[service]}"
        )
    if service == "huggingface" and not REPO.fullmatch(settings["repo"]):
        raise InputError(
            f"{where}: repo: {shown(repr(settings['repo']))} is not of the form OWNER/NAME: a user or an organization"
            " of the Hub, and a name for the model"
        )
    address = settings["endpoint" if service == "huggingface" else "url"]
    if address is not None:
        require_address(address, where)
    return settings


def require_address(address: str, where: str) -> None:
    """Raise an InputError unless an address is one that a token may be sent to: https, or this machine itself."""
    parts = urlsplit(address)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.hostname is None or not (parts.scheme == "https" or (parts.scheme == "http" and local)):
        raise InputError(f"{where}: {shown(repr(address))} is no address that begins with https://")
    if parts.username or parts.password or parts.query:
        raise InputError(f"{where}: give the address without user name, password and '?'; tokens are not read from it")


def hub_model(config: dict[str, Any]) -> str | None:
    """Return the model that scvi-hub gets: that of `deliver`, or the first that it can load; None without any."""
    models, delivered = config["models"], config["deliver"]["model"]
    suited = [m for m, settings in models.items() if MODEL_TYPES[settings["type"]].pretrained in HUB_CLASSES]
    return delivered if delivered in suited else next(iter(suited), None)
