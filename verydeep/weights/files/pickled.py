"""A pickle -> plain data, of which nothing is run.

Every name that a pickle asks for is answered here: a few by functions of this module, which describe tensors, and
all others by `Placeholder`, a class that takes anything and does nothing. No module is imported and no function of
another library is called.
"""

from __future__ import annotations

import pickle
import re
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING  # names of Python 2, which pickles for it have
from collections import OrderedDict
from dataclasses import dataclass
from typing import IO, Any

from verydeep.weights.checkpoint import NotWeightsError

RUNS = ("builtins", "io", "_io", "os", "posix", "nt", "sys", "subprocess", "shutil", "importlib")
"""Modules that no data asks for, but a file that is made to run a program."""
HARMLESS = {"bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "getattr", "int", "list"}
HARMLESS |= {"object", "range", "set", "slice", "str", "tuple"}
"""Names that data may ask for all the same."""

TYPES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "Untyped": "uint8",
}
"""Types of numbers, by the beginning of a storage's name."""


@dataclass(frozen=True)
class Storage:
    """Where numbers lie: the file's own key, their type, and how many numbers come before them under that key."""

    key: str
    dtype: str
    skipped: int = 0


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as a pickle describes it; its numbers lie elsewhere in the file."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Placeholder(dict[Any, Any]):
    """An object of a class that is not loaded. It may hold items, as dictionaries and lists do."""

    name = "?"
    attributes: object = None

    def __new__(cls, *_: object, **__: object) -> Placeholder:
        """Take anything."""
        return super().__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        super().__init__()

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __setstate__(self, state: object) -> None:
        self.attributes = state

    def append(self, item: object) -> None:
        """Hold an item more."""
        self[len(self)] = item

    def extend(self, items: Any) -> None:
        """Hold items more."""
        for item in items:
            self.append(item)

    add = append


class Unpickler(pickle.Unpickler):
    """Reads one pickle of PyTorch's.

    Attributes:
        dtypes: of the numbers that it says lie elsewhere, by their keys.

    """

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="latin1")
        self.dtypes: dict[str, str] = {}
        self._placeholders: dict[str, type[Placeholder]] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a class or a function here."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if full in STAND_INS:
            return STAND_INS[full]
        top = module.partition(".")[0]
        if top in RUNS and name not in HARMLESS:
            raise NotWeightsError(
                f"holds more than tensors: it asks for {full}, which could run any program when PyTorch loads it; "
                "do not trust this file"
            )
        if top == "torch" and name.endswith("Storage"):
            return TYPES.get(name.removesuffix("Storage"), name)
        if module == "torch" and re.fullmatch(r"(bfloat|float|uint|int|complex)\d+\w*|bool", name):
            return name
        if full not in self._placeholders:
            self._placeholders[full] = type("Placeholder", (Placeholder,), {"name": full})
        return self._placeholders[full]

    def persistent_load(self, key: Any) -> Any:
        """What a reference to something outside of the pickle means: numbers, or (of old) a module's source."""
        if isinstance(key, tuple) and len(key) >= 5 and key[0] == "storage":
            view = key[5] if len(key) > 5 and key[5] else (None, 0)
            storage = Storage(str(key[2]), str(key[1]), int(view[1]))
            self.dtypes[storage.key] = storage.dtype
            return storage
        if isinstance(key, tuple) and len(key) >= 2 and key[0] == "module":
            return key[1]
        raise NotWeightsError("has a reference that PyTorch does not write, so it is damaged")


def _tensor(storage: Any, offset: int, shape: Any, strides: Any, *others: Any) -> Any:
    dtype = str(others[2]) if len(others) > 2 and isinstance(others[2], str) else storage.dtype
    return StoredTensor(storage, dtype, storage.skipped + offset, tuple(shape), tuple(strides))


def _first(data: Any, *_: Any) -> Any:
    return data


def _of_type(function: Any, _: Any, arguments: Any, *__: Any) -> Any:
    return function(*arguments)  # which is ours, as everything is that a pickle can name


class _Parameter:
    """PyTorch's parameter is its tensor."""

    def __new__(cls, data: Any = None, *_: Any) -> Any:
        return data


STAND_INS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch.Size": tuple,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.nn.parameter.Parameter": _Parameter,
    "torch.nn.parameter.Buffer": _Parameter,
}
"""What stands for PyTorch's own functions."""
