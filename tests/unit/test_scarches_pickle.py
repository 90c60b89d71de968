"""Attributes of a model that scArches saved are read as plain values; no code of the file runs."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from refatlas.errors import InputError
from refatlas.models.plain_pickle import LeftOut
from refatlas.models.scarches_saved import read_attributes, read_state


class Code:
    """A value whose pickle would write a file when it is loaded."""

    def __init__(self, path: Path, function=os.system) -> None:
        self.path, self.function = path, function

    def __reduce__(self):
        return self.function, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_arrays_and_tensors_are_the_same(protocol):
    values = {
        "range_": range(3),
        "scalar_": np.float32(0.5),
        "names_": [np.str_("a"), "b"],
        "array_": np.arange(6.0).reshape(2, 3),
        "columns_": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        "objects_": np.array(["a", None], dtype=object),
        "texts_": np.array(["a", "bc"]),
        "tensors_": {"mean": torch.arange(4.0).reshape(2, 2), "cov": None},
        "ordered_": collections.OrderedDict(a=1),
    }
    found = read_attributes(pickle.dumps(values, protocol), "attr.pkl")
    assert found["range_"] == range(3)
    assert type(found["scalar_"]) is float
    assert type(found["names_"][0]) is str
    for name in ("array_", "columns_", "objects_", "texts_"):
        assert type(found[name]) is np.ndarray
        assert found[name].tolist() == values[name].tolist()
    assert torch.equal(found["tensors_"]["mean"], values["tensors_"]["mean"])
    assert found["ordered_"] == {"a": 1}


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_tables_are_left_out_in_every_protocol(protocol):
    table = pd.DataFrame({"a": [1, 2], "b": pd.Categorical(["x", "y"]), "c": ["p", None]}, index=["i", "j"])
    found = read_attributes(pickle.dumps({"obs_metadata_": table, "beta_": 1}, protocol), "attr.pkl")
    assert found["beta_"] == 1
    assert isinstance(found["obs_metadata_"], LeftOut)


@pytest.mark.parametrize("function", [os.system, eval, exec, pickle.loads, torch.load])
def test_code_is_refused_by_name_and_not_run(tmp_path, function):
    content = pickle.dumps({"conditions_": Code(tmp_path / "made", function)})
    with pytest.raises(InputError, match=f"attr.pkl cannot be read .UnpicklingError: it names {function.__module__}"):
        read_attributes(content, "attr.pkl")
    assert not (tmp_path / "made").exists()


def test_functions_of_packages_that_are_left_out_are_not_called(tmp_path):
    file = tmp_path / "table.pkl"
    file.write_bytes(pickle.dumps(Code(tmp_path / "made")))

    class Table:
        def __reduce__(self):
            return pd.read_pickle, (str(file),)

    found = read_attributes(pickle.dumps({"obs_metadata_": Table()}), "attr.pkl")
    assert isinstance(found["obs_metadata_"], LeftOut)
    assert not (tmp_path / "made").exists()


def called(function, *arguments, state=None):
    """Return a value whose pickle calls a function, and sets a state."""
    parts = (function, arguments) if state is None else (function, arguments, state)
    return type("Called", (), {"__reduce__": lambda _: parts})()


OBJECTS = called(np.dtype, "O", False, True, state=(3, "|", None, None, None, -1, -1, 0))
ADDRESS = b"\1" * 8


@pytest.mark.parametrize(
    "value",
    [
        called(np.ndarray, (1,), "O", ADDRESS),
        called(np._core.multiarray.scalar, OBJECTS, ADDRESS),
        called(np._core.numeric._frombuffer, ADDRESS, OBJECTS, (1,), "C"),
        called(np._core.multiarray._reconstruct, np.ndarray, (0,), b"b", state=(1, (1,), OBJECTS, False, ADDRESS)),
        called(np._core.multiarray._reconstruct, np.ndarray, (1,), "O"),
    ],
)
def test_no_memory_is_read_as_objects(value):
    """An object at an address of the file's choice could run any code."""
    content = pickle.dumps({"mask_": value})
    try:
        found = read_attributes(content, "attr.pkl")
    except InputError:
        return
    assert found["mask_"].size == 0


def test_code_within_the_values_of_a_tensor_is_not_run(tmp_path):
    """torch's own function would unpickle them freely."""

    class Tensor:
        def __reduce__(self):
            return torch.storage._load_from_bytes, (pickle.dumps(Code(tmp_path / "made")),)

    with pytest.raises(InputError, match=r"attr.pkl cannot be read"):
        read_attributes(pickle.dumps({"prototypes_labeled_": Tensor()}), "attr.pkl")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1]), pickle.dumps({1: 2})])
def test_files_that_hold_no_attributes_are_refused(content):
    with pytest.raises(InputError, match=r"attr.pkl (cannot be read|does not hold attributes by name)"):
        read_attributes(content, "attr.pkl")


def test_weights_must_be_finite_tensors(tmp_path):
    def saved(value) -> bytes:
        torch.save(value, tmp_path / "w.pt")
        return (tmp_path / "w.pt").read_bytes()

    assert list(read_state(saved({"a": torch.ones(2)}), "w.pt")) == ["a"]
    with pytest.raises(InputError, match=r"w.pt: a has values that are not finite"):
        read_state(saved({"a": torch.tensor([1.0, float("nan")])}), "w.pt")
    for wrong in ([torch.ones(1)], {"a": 1}):
        with pytest.raises(InputError, match=r"w.pt does not hold tensors by name"):
            read_state(saved(wrong), "w.pt")
    with pytest.raises(InputError, match=r"w.pt cannot be read"):
        read_state(saved({"a": Code(tmp_path / "made")}), "w.pt")
    assert not (tmp_path / "made").exists()
