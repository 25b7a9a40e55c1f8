"""Inverse square root by two steps of a minimax polynomial."""

import math

from keras import ops

from keras_deconv._types import Tensor
from keras_deconv.ops._normalize import normalize
from keras_deconv.ops._normalize import symmetrized
from keras_deconv.ops._product import product

# The damping at which `(P + DELTA I) ** -1/2` has the gains of five
# Newton-Schulz steps, and the polynomials a, b, c of the two steps.
DELTA = 0.015
FIRST = (5.6037, -13.8837, 9.7334)
SECOND = (2.1306, -1.5116, 0.40198)


def minimax(matrix: Tensor, num_iterations: int) -> Tensor:
    """Approximates what five Newton-Schulz steps reach, in five products.

    Over the whole spectrum, five Newton-Schulz steps come within 11 % of
    `(A + delta |A|_F I) ** -1/2` with `delta = 0.015`. This takes that
    root itself. From

        P = (A / |A|_F + delta I) / (1 + delta),    Z = I

    two steps, each with coefficients of its own,

        W = a I + b P + c P^2,    Z <- W Z,    P <- W^2 P

    take Z to `P ** -1/2` within 6.5 %. The coefficients keep the error
    smallest for eigenvalues of P from `delta / (1 + delta)` to 1.

    The gain of a direction is 0.85 to 1.10 times that of five Newton-Schulz
    steps. Unlike theirs it does not tend to the exact one for the largest
    eigenvalues: a 1 x 1 matrix comes out 5 % too large. The gradient is that
    of the polynomials, whose slopes follow those of the root only roughly.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: The Newton-Schulz steps that are stood for: 5.

    Returns:
        `(..., F, F)`, symmetric up to rounding.

    Raises:
        ValueError: If `num_iterations` is not 5.
    """
    if num_iterations != 5:
        raise ValueError(
            "`num_iterations` must be 5 with the method 'minimax', which "
            "stands for five Newton-Schulz steps. "
            f"Received: num_iterations={num_iterations!r}"
        )
    p, root = normalize(symmetrized(matrix))
    p = (p + DELTA * ops.eye(p.shape[-1], dtype=p.dtype)) / (1 + DELTA)
    z = _polynomial(p, *FIRST)
    p = product(z, product(z, p))
    z = product(_polynomial(p, *SECOND), z)
    return z / (root * math.sqrt(1 + DELTA))


def _polynomial(p: Tensor, a: float, b: float, c: float) -> Tensor:
    identity = ops.eye(p.shape[-1], dtype=p.dtype)
    return a * identity + b * p + c * product(p, p)
