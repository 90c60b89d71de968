"""The registry of model types, light enough for Snakemake's start: a type's own packages are
imported when it is used.

To add a type, write one file with a class that fulfils `refatlas.models.interface.Model`, and add
one line to `MODEL_TYPES`.
"""

from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class ModelType:
    """What the workflow knows of a type before it is imported.

    Attributes:
        location: "module:Class".
        uses_gpu: whether training and mapping ask for a GPU.
        needs_labels: whether the reference must have labels.
        needs_proteins: whether some of the reference's cells must have proteins.
        has_classifier: whether a mapped model gives label probabilities of its own.
        from_disk: whether it trains on counts that stay in their file.
        multi_gpu: whether it can train on more than one GPU at a time.
        has_tables: whether it has more to tell than its latent space; the setting section `outputs`
            says what.
        init_from: type of model that this one can start from, or None.
        pretrained: class of scvi-tools whose saved models can be taken instead of training, or
            None.
        files: settings that name a file, as "section.name"; a file that is named is an input of
            training.
    """

    location: str
    uses_gpu: bool = True
    needs_labels: bool = False
    needs_proteins: bool = False
    has_classifier: bool = False
    from_disk: bool = False
    multi_gpu: bool = False
    has_tables: bool = False
    init_from: str | None = None
    pretrained: str | None = None
    files: tuple[str, ...] = ()

    def load_class(self) -> type:
        """Return the class, importing its module."""
        module, name = self.location.split(":")
        return getattr(import_module(module), name)

    def files_in(self, spec: dict) -> dict[str, str]:
        """Return the files that a model's settings name, by setting."""
        found = {setting: spec.get(setting.split(".")[0], {}).get(setting.split(".")[1]) for setting in self.files}
        return {setting: path for setting, path in found.items() if path is not None}


BASELINE = "linear"
MODEL_TYPES = {
    "linear": ModelType("refatlas.models.linear:Linear", uses_gpu=False, has_classifier=True, from_disk=True),
    "scvi": ModelType("refatlas.models.scvi:ScVI", from_disk=True, multi_gpu=True, pretrained="SCVI"),
    "scanvi": ModelType(
        "refatlas.models.scanvi:ScANVI",
        needs_labels=True,
        has_classifier=True,
        from_disk=True,
        init_from="scvi",
        pretrained="SCANVI",
    ),
    "expimap": ModelType("refatlas.models.expimap:ExpiMap", has_tables=True, files=("model.gmt",)),
    "trvae": ModelType("refatlas.models.trvae:TrVAE"),
    "scpoli": ModelType("refatlas.models.scpoli:ScPoli", needs_labels=True, has_classifier=True, has_tables=True),
    "totalvi": ModelType("refatlas.models.totalvi:TotalVI", needs_proteins=True, has_tables=True, pretrained="TOTALVI"),
}


def settings_schema(kind: str) -> dict:
    """Return the closed JSON schema of a model's entry in `models:`, with the defaults of its type."""
    sections = MODEL_TYPES[kind].load_class().settings
    properties = {"type": {"enum": [kind]}}
    if MODEL_TYPES[kind].init_from:
        description = f"a model of type {MODEL_TYPES[kind].init_from} to start from, instead of training one within"
        properties["init_from"] = {"description": description, "type": ["string", "null"], "default": None}
    if MODEL_TYPES[kind].pretrained:
        from refatlas.models.pretrained import SETTINGS

        properties["pretrained"] = SETTINGS
    if MODEL_TYPES[kind].multi_gpu:
        properties["gpus"] = {
            "description": "GPUs that train the reference model together; batch_size is of each",
            "type": "integer",
            "minimum": 1,
            "maximum": 64,
        }
    for section, settings in sections.items():
        properties[section] = {"type": "object", "additionalProperties": False, "default": {}, "properties": settings}
    return {"type": "object", "additionalProperties": False, "required": ["type"], "properties": properties}
