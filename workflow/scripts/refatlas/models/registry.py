"""The registry of model types, light enough to be read whenever Snakemake starts.

A type's own packages are imported when it is used. To add a type, write one file with a class that
fulfils `refatlas.models.interface.Model`, and add one line to `MODEL_TYPES`.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refatlas.models import mvtcr_settings, scarches_settings, scvi_settings
from refatlas.models.library_patches.environment import garbage_collection_paused

if TYPE_CHECKING:
    from refatlas.models.interface import Settings, SettingsSchema


@dataclass(frozen=True)
class ModelType:
    """What the workflow knows of a type before it is imported.

    Attributes:
        location: "module:Class".
        settings: the JSON schema of its sections; None reads the class's own `settings`, for types
            whose modules import nothing heavy.
        uses_gpu: whether training and mapping ask for a GPU.
        needs_labels: whether the reference must have labels.
        needs_proteins: whether some of the reference's cells must have proteins.
        needs_systems: whether the sheets must name the system (such as the species) of datasets and queries.
        needs_peaks: whether its features are peaks of open chromatin, and not genes.
        needs_receptors: whether it places only cells with paired T-cell receptors.
        has_classifier: whether a mapped model gives label probabilities of its own.
        from_disk: whether it trains on counts that stay in their file.
        multi_gpu: whether it can train on more than one GPU at a time.
        has_tables: whether it has results beyond its latent space; the section `outputs` selects
            them.
        compared: what of its tables contrasts compare: "programs", "proteins", or nothing ("").
        decodes: whether counts can be drawn from it, and normalised expression, also as if cells were of another
            batch.
        has_posterior: whether cells have a normal posterior in its latent space, of which samples' densities are made.
        made_elsewhere: whether its latent space is read from the users' files.
        init_from: type of model that this one can start from, or None.
        pretrained: class of scvi-tools or scArches whose saved models can be used instead of training, or None.
        saved_by: which of the two saves them.
        files: settings that name a file, as "section.name"; a named file is an input of training.
        mapping_sections: sections that map_query reads; other settings do not affect a mapping.
    """

    location: str
    settings: "SettingsSchema | None" = None
    uses_gpu: bool = True
    needs_labels: bool = False
    needs_proteins: bool = False
    needs_systems: bool = False
    needs_peaks: bool = False
    needs_receptors: bool = False
    has_classifier: bool = False
    from_disk: bool = False
    multi_gpu: bool = False
    has_tables: bool = False
    compared: str = ""
    decodes: bool = False
    has_posterior: bool = False
    made_elsewhere: bool = False
    init_from: str | None = None
    pretrained: str | None = None
    saved_by: str = "scvi-tools"
    files: tuple[str, ...] = ()
    mapping_sections: tuple[str, ...] = ("surgery",)

    def load_class(self) -> Any:
        """Return the class, a `Model`, importing its module: seconds for types of scvi-tools."""
        module, name = self.location.split(":")
        with garbage_collection_paused():
            return getattr(import_module(module), name)

    def settings_schema(self) -> "SettingsSchema":
        """Return the JSON schema of the sections, by section and setting."""
        return self.load_class().settings if self.settings is None else self.settings

    def saved_files(self, folder: str) -> list[str]:
        """Return the files of a saved model in a folder that are read; those that may be missing only if they exist."""
        if self.saved_by == "scvi-tools":
            return [f"{folder}/model.pt"]
        terms = Path(folder) / scarches_settings.TERMS
        return [f"{folder}/{name}" for name in scarches_settings.SAVED] + [str(terms)] * terms.is_file()

    def files_in(self, settings: "Settings") -> dict[str, str]:
        """Return the files that a model's settings name, by setting."""
        found = {setting: settings.get(setting.split(".")[0], {}).get(setting.split(".")[1]) for setting in self.files}
        return {setting: path for setting, path in found.items() if path is not None}


BASELINE = "linear"
MODEL_TYPES = {
    "linear": ModelType("refatlas.models.linear:Linear", uses_gpu=False, has_classifier=True, from_disk=True),
    "scvi": ModelType(
        "refatlas.models.scvi:ScVI",
        scvi_settings.SCVI,
        from_disk=True,
        multi_gpu=True,
        decodes=True,
        has_posterior=True,
        pretrained="SCVI",
    ),
    "scanvi": ModelType(
        "refatlas.models.scanvi:ScANVI",
        scvi_settings.SCANVI,
        needs_labels=True,
        has_classifier=True,
        from_disk=True,
        decodes=True,
        has_posterior=True,
        init_from="scvi",
        pretrained="SCANVI",
    ),
    "embedding": ModelType("refatlas.models.embedding:Embedding", uses_gpu=False, from_disk=True, made_elsewhere=True),
    "expimap": ModelType(
        "refatlas.models.expimap:ExpiMap",
        scarches_settings.EXPIMAP,
        has_tables=True,
        compared="programs",
        pretrained="EXPIMAP",
        saved_by="scArches",
        files=("model.gmt",),
    ),
    "trvae": ModelType("refatlas.models.trvae:TrVAE", scarches_settings.TRVAE, pretrained="TRVAE", saved_by="scArches"),
    "scpoli": ModelType(
        "refatlas.models.scpoli:ScPoli",
        scarches_settings.SCPOLI,
        needs_labels=True,
        has_classifier=True,
        has_tables=True,
        pretrained="scPoli",
        saved_by="scArches",
    ),
    "totalvi": ModelType(
        "refatlas.models.totalvi:TotalVI",
        scvi_settings.TOTALVI,
        needs_proteins=True,
        has_tables=True,
        compared="proteins",
        decodes=True,
        has_posterior=True,
        pretrained="TOTALVI",
    ),
    "drvi": ModelType(
        "refatlas.models.drvi:DisentangledVI", scvi_settings.DRVI, from_disk=True, decodes=True, has_posterior=True
    ),
    "sysvi": ModelType(
        "refatlas.models.sysvi:SystemVI",
        scvi_settings.SYSVI,
        needs_systems=True,
        has_posterior=True,
        mapping_sections=("surgery", "systems"),
    ),
    "peakvi": ModelType("refatlas.models.peakvi:PeakVI", scvi_settings.PEAKVI, needs_peaks=True, has_posterior=True),
    "mvtcr": ModelType("refatlas.models.mvtcr:MvTCR", mvtcr_settings.MVTCR, needs_receptors=True),
}


def whole_models(models: "dict[str, Settings]") -> "dict[str, Settings]":
    """Return the models, by name, that have a place for each cell: all but those of paired T-cell receptors."""
    return {name: settings for name, settings in models.items() if not MODEL_TYPES[settings["type"]].needs_receptors}


def mapping_settings(settings: "Settings") -> "Settings":
    """Return those of a model's settings that a mapping depends on: its type, and some sections."""
    return _selected(settings, MODEL_TYPES[settings["type"]].mapping_sections)


def table_settings(settings: "Settings") -> "Settings":
    """Return those of a model's settings that its own tables depend on: type and `outputs`."""
    return _selected(settings, ("outputs",))


def _selected(settings: "Settings", sections: tuple[str, ...]) -> "Settings":
    return {name: settings[name] for name in ("type", *sections) if name in settings}


def settings_schema(kind: str) -> dict[str, Any]:
    """Return the closed JSON schema of a model's entry in `models:`, with the type's defaults."""
    known = MODEL_TYPES[kind]
    properties: dict[str, Any] = {"type": {"enum": [kind]}}
    if known.init_from:
        description = f"model of type {known.init_from} to start from, instead of training one"
        properties["init_from"] = {"description": description, "type": ["string", "null"], "default": None}
    if known.pretrained:
        made_by_scvi_tools = known.saved_by == "scvi-tools"
        properties["pretrained"] = scvi_settings.PRETRAINED if made_by_scvi_tools else scarches_settings.PRETRAINED
    if known.multi_gpu:
        properties["gpus"] = {
            "description": "GPUs that train the reference model together; batch_size is of each",
            "type": "integer",
            "minimum": 1,
            "maximum": 64,
        }
    for section, settings in known.settings_schema().items():
        properties[section] = {"type": "object", "additionalProperties": False, "default": {}, "properties": settings}
    return {"type": "object", "additionalProperties": False, "required": ["type"], "properties": properties}
