"""What h5ad files for people may hold: only what anndata 0.8, cellxgene and readers in R know."""

import h5py

GROUPS = {("anndata", "0.1.0"), ("dict", "0.1.0"), ("dataframe", "0.2.0"), ("csr_matrix", "0.1.0")}
GROUPS |= {("categorical", "0.2.0")}
ARRAYS = {("array", "0.2.0"), ("string-array", "0.2.0"), ("string", "0.2.0")}
# Parts of a sparse matrix, and what anndata 0.8 wrote for them.
PARTS = ("X/data", "X/indices", "X/indptr")


def unknown_parts(path) -> list[str]:
    """Return what in an h5ad an old or foreign reader would not know, with its place."""
    found = []

    def look(name: str, element) -> None:
        kind = (element.attrs.get("encoding-type", ""), element.attrs.get("encoding-version", ""))
        if isinstance(element, h5py.Group):
            found.extend([f"{name}: {kind}"] if kind not in GROUPS else [])
            return
        if name not in PARTS and kind not in ARRAYS:
            found.append(f"{name}: {kind}")
        if element.compression not in (None, "gzip"):
            found.append(f"{name}: {element.compression}")
        if element.dtype.kind not in "iufbO":
            found.append(f"{name}: {element.dtype}")
        if element.dtype.kind == "O" and h5py.check_string_dtype(element.dtype) is None:
            found.append(f"{name}: {element.dtype}")

    with h5py.File(path, "r") as file:
        look("", file)
        file.visititems(look)
        links = [name for name in file if not isinstance(file.get(name, getlink=True), h5py.HardLink)]
    return found + [f"{name}: link" for name in links]
