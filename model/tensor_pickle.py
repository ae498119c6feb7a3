"""Follows a pickle that describes a flat state dict of tensors.

A pickle is a program for a stack machine. This machine knows the few instructions and names that
describe tensors and refuses all others. It calls nothing by name, compares nothing but texts and
makes no copies, so time and memory stay in proportion to the length of the pickle.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Storage = Callable[[str, np.dtype[Any], int], Array]

_TENSOR = "torch._utils _rebuild_tensor_v2"
_PARAMETER = "torch._utils _rebuild_parameter"
_ORDERED_DICT = "collections OrderedDict"
_DTYPES: dict[str, np.dtype[Any]] = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch LongStorage": np.dtype("<i8"),
}
_NAMES = {_TENSOR, _PARAMETER, _ORDERED_DICT, *_DTYPES}
_MOST_DIMENSIONS = 4


def read_tensors(pickled: bytes, storage: Storage) -> dict[str, Array]:
    """The tensors, views of their storages, by their names.

    Args:
        storage: gives the numbers of a storage by its key, their type and their count.

    Raises:
        ValueError: the pickle describes something else, or is cut off.
    """
    try:
        found = _Machine(storage).run(pickled)
    except (IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError("has a description of its tensors that makes no sense") from error
    if not isinstance(found, dict) or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in found.items()
    ):
        raise ValueError("holds no flat state dict of tensors, as mobile_sam.pt does")
    return found


@dataclass(frozen=True)
class _Name:
    """What the pickle refers to by module and name. It stays a text."""

    text: str


def _instructions(pickled: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            yield opcode.name, argument
    except ValueError as error:
        raise TypeError("not a pickle, or cut off") from error


class _Machine:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._marks: list[int] = []  # heights of the stack
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda _: None,
            **dict.fromkeys(
                ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"), self._stack.append
            ),
            "NONE": lambda _: self._stack.append(None),
            "NEWTRUE": lambda _: self._stack.append(True),
            "NEWFALSE": lambda _: self._stack.append(False),
            "EMPTY_DICT": lambda _: self._stack.append({}),
            "EMPTY_TUPLE": lambda _: self._stack.append(()),
            "TUPLE1": lambda _: self._stack.append(tuple(self._pop(1))),
            "TUPLE2": lambda _: self._stack.append(tuple(self._pop(2))),
            "TUPLE3": lambda _: self._stack.append(tuple(self._pop(3))),
            "MARK": lambda _: self._marks.append(len(self._stack)),
            "TUPLE": lambda _: self._stack.append(tuple(self._pop_to_mark())),
            "BINPUT": self._remember,
            "LONG_BINPUT": self._remember,
            "BINGET": lambda key: self._stack.append(self._memo[key]),
            "LONG_BINGET": lambda key: self._stack.append(self._memo[key]),
            "SETITEM": lambda _: self._set(self._pop(2)),
            "SETITEMS": lambda _: self._set(self._pop_to_mark()),
            "GLOBAL": self._refer,
            "BINPERSID": self._load_storage,
            "REDUCE": self._build,
            "BUILD": self._ignore_attributes,
        }

    def run(self, pickled: bytes) -> Any:
        for instruction, argument in _instructions(pickled):
            if instruction == "STOP":
                return self._stack.pop()
            if instruction not in self._steps:
                raise ValueError(
                    f"has a pickle with the instruction {instruction}, which no tensor needs"
                )
            self._steps[instruction](argument)
        raise TypeError("cut off")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise IndexError(count)
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _pop_to_mark(self) -> list[Any]:
        height = self._marks.pop()
        items = self._stack[height:]
        del self._stack[height:]
        return items

    def _remember(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        keys, values = items[::2], items[1::2]
        if not isinstance(target, dict) or len(keys) != len(values):
            raise TypeError(target)
        if not all(isinstance(key, str) for key in keys):
            raise TypeError(keys)
        target.update(zip(keys, values, strict=True))

    def _refer(self, text: str) -> None:
        if text not in _NAMES:
            raise ValueError(f"has a pickle that names {text[:60]!a}, which no tensor needs")
        self._stack.append(_Name(text))

    def _ignore_attributes(self, _: None) -> None:
        """Of the state dict. Nothing reads them."""
        self._pop(1)

    def _load_storage(self, _: None) -> None:
        kind, dtype, key, _device, count = self._stack.pop()
        if kind != "storage" or not isinstance(key, str) or type(count) is not int or count < 0:
            raise TypeError(kind)
        if dtype.text not in _DTYPES:
            raise TypeError(dtype)
        self._stack.append(self._storage(key, _DTYPES[dtype.text], count))

    def _build(self, _: None) -> None:
        name, arguments = self._pop(2)
        if name.text == _TENSOR:
            self._stack.append(_tensor(*arguments))
        elif name.text == _PARAMETER:
            self._stack.append(arguments[0])
        elif name.text == _ORDERED_DICT and not arguments:
            self._stack.append({})
        else:
            raise TypeError(name)


def _tensor(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Array:
    """A view of a storage. ``offset`` and ``stride`` count numbers and not bytes."""
    if not isinstance(storage, np.ndarray) or len(size) > _MOST_DIMENSIONS:
        raise TypeError(storage)
    if storage.ndim != 1 or len(size) != len(stride):
        raise TypeError(size)
    if any(type(value) is not int or value < 0 for value in (offset, *size, *stride)):
        raise ValueError("has a tensor with a negative size, stride or offset")
    last = 0  # of the numbers that the dimensions of smaller strides reach
    for step, count in sorted(zip(stride, size, strict=True)):
        if count > 1 and step <= last:
            raise ValueError("has a tensor whose numbers overlap")
        last += step * max(count - 1, 0)
    if offset + last >= storage.size:
        raise ValueError("has a tensor that reaches beyond its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
