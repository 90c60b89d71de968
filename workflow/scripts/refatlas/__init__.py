"""refatlas: a reference atlas from raw single-cell counts, and queries mapped onto it.

For notebooks:

- `open_counts(path)`: open a file of raw counts, and see where in the file they are.
- `load_model(folder)`: load a trained or mapped model with the counts that it saw.
- `add_labels(adata, path)`: add the labels of a query (labels.csv) to an AnnData.
- `ExactIndex`: exact nearest neighbours in a latent space.

Importing refatlas is cheap: each of these imports what it needs at first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refatlas.io.labels_csv import add_labels
    from refatlas.io.raw_counts import open_counts
    from refatlas.models.model_files import load_trained as load_model
    from refatlas.neighbors.exact_index import ExactIndex

__all__ = ["ExactIndex", "__version__", "add_labels", "load_model", "open_counts"]
__version__ = "0.9.2"

_PUBLIC = {
    "ExactIndex": ("refatlas.neighbors.exact_index", "ExactIndex"),
    "add_labels": ("refatlas.io.labels_csv", "add_labels"),
    "load_model": ("refatlas.models.model_files", "load_trained"),
    "open_counts": ("refatlas.io.raw_counts", "open_counts"),
}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
