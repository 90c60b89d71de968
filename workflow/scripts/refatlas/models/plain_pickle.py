"""Pickles read as plain values, arrays and tensors; no code of the file runs, and no memory is read as objects.

numpy's own `dtype.__setstate__` and `ndarray` would let a file claim that its bytes are addresses of Python objects. So
neither is at hand: arrays are made here, and those of objects from lists alone.
"""

import io
import pickle
from typing import Any

import numpy as np

# What values are made of, by module; those of `_own` are replaced.
ALLOWED = {
    "builtins": {"range", "slice", "set", "frozenset"},
    "collections": {"OrderedDict"},
    "torch._utils": {"_rebuild_tensor_v2"},
}
# Their objects are in a table of the training cells' metadata, which is not needed: none is made.
LEFT_OUT = ("pandas", "pyarrow", "datetime")
# Of dtype: kinds of values that hold no address.
KINDS = "biufcSU"


class LeftOut:
    """In place of an object of a package that is not needed: takes any content, and keeps none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __new__(cls, *args: Any, **kwargs: Any) -> "LeftOut":
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, value: Any) -> None: ...

    def extend(self, values: Any) -> None: ...


class _DType:
    """In place of numpy.dtype: a kind of values, of whose pickled state only the byte order is taken."""

    def __init__(self, name: str, *_: Any) -> None:
        self.found = np.dtype(str(name))
        if self.found.kind not in KINDS + "O":
            raise pickle.UnpicklingError(f"it has values of type {self.found}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if str(state[1]) == ">":
            self.found = self.found.newbyteorder(">")

    @property
    def plain(self) -> np.dtype:
        """The type of values that hold no address.

        Raises:
            UnpicklingError: its values are objects.
        """
        if self.found.hasobject:
            raise pickle.UnpicklingError("it has objects as bytes")
        return self.found


class _Array(np.ndarray):
    """An array as it is unpickled; a file can neither call this class nor name it."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, kind, by_column, content = state
        dtype = kind.found if isinstance(content, list) else kind.plain
        super().__setstate__((version, shape, dtype, by_column, content))


# What pickles name in place of the class: it cannot be called.
_ARRAY = object()


def _reconstruct(kind: Any, *_: Any) -> np.ndarray:
    """Return an empty array, whose values are set by the state that follows."""
    if kind is not _ARRAY:
        raise pickle.UnpicklingError("it has an array of another class")
    return np.ndarray.__new__(_Array, (0,), "b")


def _from_buffer(content: Any, kind: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(bytes(content), kind.plain).reshape(shape, order="F" if order == "F" else "C")


def _scalar(kind: _DType, content: bytes) -> Any:
    return np.frombuffer(content, kind.plain, count=1)[0]


def _storage(content: bytes) -> Any:
    """Return the values of a tensor; the function of torch that a pickle names would run any code in them."""
    import torch

    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


_own: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ARRAY,
    ("numpy", "dtype"): _DType,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("torch.storage", "_load_from_bytes"): _storage,
}


class PlainUnpickler(pickle.Unpickler):
    """Reads plain values, arrays and tensors; anything else is an error before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle names.

        Raises:
            UnpicklingError: it is none of those that a saved model needs.
        """
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) in _own:
            return _own[module, name]
        if module.split(".")[0] in LEFT_OUT:
            return LeftOut
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


def plain(value: Any) -> Any:
    """Return a value with those of Python in place of numpy's scalars, also in lists and dictionaries."""
    if isinstance(value, dict):
        return {plain(key): plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    if isinstance(value, np.ndarray):
        return np.array(value)
    return value.item() if isinstance(value, np.generic) else value
