"""Names of types that all folders use."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Bytes", "U64"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
