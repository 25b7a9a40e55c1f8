"""Inverse square root by coupled Newton-Schulz iteration."""

from typing import NamedTuple

from keras import ops

from keras_deconv._checks import check_count
from keras_deconv._engine import Rule
from keras_deconv._engine import add_product
from keras_deconv._engine import eye
from keras_deconv._engine import has_fast_eigh
from keras_deconv._engine import has_forward_mode
from keras_deconv._engine import with_gradient
from keras_deconv._types import Tensor
from keras_deconv.ops._normalize import normalize
from keras_deconv.ops._normalize import of_any_scale
from keras_deconv.ops._normalize import symmetrized
from keras_deconv.ops._product import product
from keras_deconv.ops._spectral import newton_schulz_of_eigenvalues
from keras_deconv.ops._square import check_matrix

# Where eigenvalues take less time than the products, and lose no digits: what
# many steps amplify most is their rounding.
_FEWEST, _MOST = 4, 8


class Iterates(NamedTuple):
    """What the iteration comes by, with the first step first.

    Attributes:
        y: Before the last step: -1/2 of what is called Y below. That rounds
            nothing, and leaves T a sum.
        zs: Z after each step.
        ts: T of each step; that of the first is Z after it.
    """

    y: Tensor
    zs: list[Tensor]
    ts: list[Tensor]


def newton_schulz(matrix: Tensor, num_iterations: int) -> Tensor:
    """Approximates `matrix ** -1/2` by coupled Newton-Schulz iteration.

    With `A / |A|_F` as the start of Y and the identity as that of Z,

        T = (3 I - Z Y) / 2,    Y <- Y T,    Z <- T Z

    takes Y to the square root and Z to the inverse square root of
    `A / |A|_F` (network deconvolution, section 3.3 and appendix A.3).

    Few iterations are a regulariser, not a shortcut: one step amplifies a
    direction at most 1.5 times, so five leave directions of little variance
    (mostly noise) partly as they are. More steps change the method.

    All of these commute, so the result is a function of the eigenvalues of
    the matrix. Where a decomposition is cheap, it is computed from them: the
    same values and gradients, up to rounding, in a third of the time.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: Steps, at least 1. Costs `3 * num_iterations - 3`
            products: the first step multiplies with no identity, the last
            computes no Y. The gradient costs `5 * num_iterations - 5`.

    Returns:
        `(..., F, F)`, symmetric up to rounding.
    """
    if has_forward_mode():
        start, root = normalize(symmetrized(matrix))
        return iterate(start, num_iterations).zs[-1] / root
    matrix = ops.convert_to_tensor(matrix)
    by_products = of_any_scale(_by_products(num_iterations))
    rule = by_products
    if _FEWEST <= num_iterations <= _MOST and has_fast_eigh(matrix):
        rule = of_any_scale(newton_schulz_of_eigenvalues(num_iterations))
    # That of eigenvectors divides by differences of eigenvalues.
    return with_gradient(rule, matrix, again=by_products)


def sqrt_pair(matrix: Tensor, num_iterations: int) -> tuple[Tensor, Tensor]:
    """Returns the square root and the inverse square root together.

    Both come from one Newton-Schulz iteration, for one product more than
    the inverse square root alone. After few steps either is an
    approximation, of the same matrix: their product tends to the identity
    only as the steps converge.

    Args:
        matrix: `(..., F, F)`, symmetric positive definite.
        num_iterations: Steps, at least 1.

    Returns:
        `matrix ** 1/2` and `matrix ** -1/2`, each `(..., F, F)`.

    Raises:
        ValueError: If a matrix is not square, or not of floating-point
            numbers, or `num_iterations` is below 1.
    """
    check_count("num_iterations", num_iterations)
    start, root = normalize(check_matrix(matrix))
    y, zs, ts = iterate(start, num_iterations)
    return product(y, ts[-1]) * (-2 * root), zs[-1] / root


def iterate(y: Tensor, num_iterations: int) -> Iterates:
    """Iterates on a matrix that `normalize` returns.

    Args:
        y: `(..., F, F)`.
        num_iterations: Steps, at least 1.
    """
    three_halves = eye(ops.shape(y)[-1], like=y, scale=1.5)
    # Of one shape, for TensorFlow adds up the gradient of what is broadcast.
    three_halves = ops.broadcast_to(three_halves, ops.shape(y))
    y = y * -0.5
    ts = [three_halves + y]
    zs = ts[:]
    for _ in range(num_iterations - 1):
        y = product(y, ts[-1])
        ts.append(add_product(three_halves, zs[-1], y))
        zs.append(product(ts[-1], zs[-1]))
    return Iterates(y, zs, ts)


def _by_products(num_iterations: int) -> Rule:
    """Returns the rule of the last Z.

    Its derivative in a symmetric direction is symmetric, and its gradient is
    that derivative in the direction of the upstream gradient. With `'` for
    derivatives, from `T' = -Y' / 2` on, which Z after the first step has too,

        M = T' T,    N = M + M^T,    T' <- M T + T N - 3/2 N,

    for the next T is `(3 I - (3 I - 2 T) T^2) / 2`, and `Z' <- T' Z + T Z'`.
    """

    def forward(start: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        _, zs, ts = iterate(start, num_iterations)
        return zs[-1], (*zs[1:-1], *ts)

    def backward(kept: tuple[Tensor, ...], upstream: Tensor) -> Tensor:
        ts = kept[-num_iterations:]
        zs = (ts[0], *kept[:-num_iterations])
        t_change = z_change = -0.5 * upstream
        for z, before, t in zip(zs, ts, ts[1:], strict=False):
            half = product(t_change, before)
            both = half + ops.swapaxes(half, -2, -1)
            t_change = add_product(both, half, before, factor=-1.5)
            t_change = add_product(t_change, before, both)
            z_change = add_product(product(t_change, z), t, z_change)
        return z_change

    return Rule(forward, backward)
