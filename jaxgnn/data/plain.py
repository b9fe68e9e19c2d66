"""Arrays of any library as numpy arrays, read by what they offer: no other library is imported."""

from typing import Any

import numpy as np

from jaxgnn.data.errors import DataError


def plain(where: str, value: Any) -> np.ndarray:
    """The values as a numpy array: of numpy, JAX, torch (moved to the host), SciPy's sparse matrices, or lists.

    Raises DataError, which begins with `where`, for rows of different lengths and what else is no array.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.to_dense() if getattr(value, "is_sparse", False) else value
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return value.numpy()
    if hasattr(value, "toarray"):
        value = value.toarray()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: a {type(value).__name__} is no array: rows of one length are needed.") from error
