"""NumPy arrays of the two dtypes, and the one NaN that is stored and hashed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.ir.primitives import CANONICAL_NAN, DType

Array = npt.NDArray[Any]

_NUMPY: Final = {DType.F32: np.dtype("<f4"), DType.I32: np.dtype("<i4")}
_DTYPES: Final = {dtype: name for name, dtype in _NUMPY.items()}


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The little-endian NumPy dtype of a tensor."""
    return _NUMPY[dtype]


def dtype_of(array: Array) -> DType:
    """DType of a NumPy array of float32 or int32. Raises KeyError for others."""
    return _DTYPES[array.dtype]


def canonical(array: Array) -> Array:
    """The same float32 values with every NaN as 0x7FC00000 (other dtypes unchanged)."""
    if array.dtype.kind != "f" or not np.isnan(array).any():
        return array
    words = array.view(np.uint32).copy()
    words[np.isnan(array)] = CANONICAL_NAN
    return words.view(array.dtype)


def is_canonical(array: Array) -> bool:
    """Whether every NaN in an array is 0x7FC00000."""
    if array.dtype.kind != "f":
        return True
    nan = np.isnan(array)
    return not nan.any() or bool((array[nan].view(np.uint32) == CANONICAL_NAN).all())
