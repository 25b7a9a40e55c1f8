"""Exact inverse square root by eigenvalues."""

import keras
import numpy as np
from keras import ops

from keras_deconv._engine import with_gradient
from keras_deconv._types import Tensor
from keras_deconv.ops._normalize import of_any_scale
from keras_deconv.ops._spectral import spectral


def eigh(matrix: Tensor, num_iterations: int) -> Tensor:
    """Computes `matrix ** -1/2` from eigenvalues and eigenvectors.

    Exact is not better: unlike a few Newton-Schulz steps, this amplifies
    directions of little variance without bound. It is for measuring other
    methods and for calibration, and slow on accelerators.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite. Eigenvalues that
            rounding cannot tell from zero, which are at most F units in the
            last place of the norm, count as so many. The result is not finite
            if one is negative beyond that.
        num_iterations: Ignored.

    Returns:
        `(..., F, F)`, symmetric up to rounding.
    """
    rule = of_any_scale(spectral(_inverse_sqrt))
    return with_gradient(rule, ops.convert_to_tensor(matrix))


def _inverse_sqrt(values: Tensor) -> tuple[Tensor, Tensor]:
    """Returns `l ** -1/2` and its divided differences."""
    # Of a matrix over its norm.
    dtype = keras.backend.standardize_dtype(values.dtype)
    least = values.shape[-1] * float(np.finfo(dtype).eps)
    values = ops.where(ops.abs(values) < least, least, values)
    rows = ops.expand_dims(ops.sqrt(values), -1)
    columns = ops.expand_dims(ops.sqrt(values), -2)
    return 1 / ops.sqrt(values), -1 / (rows * columns * (rows + columns))
