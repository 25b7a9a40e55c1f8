"""The mathematics of network deconvolution, as pure functions.

Shapes are written in one vocabulary throughout:

* `n`: batch, `C`: input channels, `O`: filters,
* `taps`: product of the kernel size,
* `groups`: convolution groups,
* `B`: block size, the channels that are whitened together,
* `F = B * taps`: features of a block,
* `matrices`: how many D there are, of a group or of a block each,
* `rows`: sampled patches, times the blocks that share a D.

Feature `f` of a patch is `c * taps + tap`: channels first, then the taps
of the kernel in row-major order, as in the authors' implementation.
"""

from keras_deconv.ops._axes import DEFAULT_STRIDE
from keras_deconv.ops._axes import FEWEST_POSITIONS
from keras_deconv.ops._axes import default_stride
from keras_deconv.ops._blocks import Blocks
from keras_deconv.ops._blocks import mean_of_blocks
from keras_deconv.ops._blocks import merge_columns
from keras_deconv.ops._blocks import merge_kernel
from keras_deconv.ops._blocks import split_columns
from keras_deconv.ops._blocks import split_kernel
from keras_deconv.ops._blocks import variance_of_blocks
from keras_deconv.ops._covariance import covariance
from keras_deconv.ops._covariance import mean
from keras_deconv.ops._covariance import pool
from keras_deconv.ops._covariance import pool_means
from keras_deconv.ops._covariance import pool_variances
from keras_deconv.ops._covariance import rows
from keras_deconv.ops._covariance import scatter
from keras_deconv.ops._few_rows import are_few
from keras_deconv.ops._few_rows import inverse_sqrt_of_rows
from keras_deconv.ops._fold import fold
from keras_deconv.ops._fold import merge_folded
from keras_deconv.ops._fold import unfold
from keras_deconv.ops._inverse_sqrt import inverse_sqrt
from keras_deconv.ops._mean_patch import mean_patch
from keras_deconv.ops._newton_schulz import sqrt_pair
from keras_deconv.ops._patches import sampled_patches
from keras_deconv.ops._product import product
from keras_deconv.ops._product import product_of_rows

__all__ = [
    "DEFAULT_STRIDE",
    "FEWEST_POSITIONS",
    "Blocks",
    "are_few",
    "covariance",
    "default_stride",
    "fold",
    "inverse_sqrt",
    "inverse_sqrt_of_rows",
    "mean",
    "mean_of_blocks",
    "mean_patch",
    "merge_columns",
    "merge_folded",
    "merge_kernel",
    "pool",
    "pool_means",
    "pool_variances",
    "product",
    "product_of_rows",
    "rows",
    "sampled_patches",
    "scatter",
    "split_columns",
    "split_kernel",
    "sqrt_pair",
    "unfold",
    "variance_of_blocks",
]
