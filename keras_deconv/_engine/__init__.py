"""The one part that speaks to TensorFlow, PyTorch or JAX themselves.

`keras.ops` has no word for what is asked for here. Each framework is
imported only while Keras runs on it.
"""

from keras_deconv._engine._functions import is_recomputing
from keras_deconv._engine._functions import recomputed
from keras_deconv._engine._functions import run_abstractly
from keras_deconv._engine._functions import traced_once
from keras_deconv._engine._gradients import Rule
from keras_deconv._engine._gradients import as_constant
from keras_deconv._engine._gradients import gradients_are_in_order
from keras_deconv._engine._gradients import has_forward_mode
from keras_deconv._engine._gradients import with_gradient
from keras_deconv._engine._gradients import with_sizes_of_gradient
from keras_deconv._engine._gram import gram
from keras_deconv._engine._known import Numbers
from keras_deconv._engine._known import cond
from keras_deconv._engine._precision import full_precision
from keras_deconv._engine._precision import warn_of_tf32
from keras_deconv._engine._precision import warn_of_triton
from keras_deconv._engine._replicas import all_reduce_sum
from keras_deconv._engine._replicas import as_varying
from keras_deconv._engine._replicas import may_reduce_in_branches
from keras_deconv._engine._replicas import replica
from keras_deconv._engine._slices import slice_axis
from keras_deconv._engine._slices import take_every
from keras_deconv._engine._tensors import add_product
from keras_deconv._engine._tensors import as_number
from keras_deconv._engine._tensors import average
from keras_deconv._engine._tensors import constant
from keras_deconv._engine._tensors import eye
from keras_deconv._engine._tensors import has_fast_eigh
from keras_deconv._engine._tensors import lerp
from keras_deconv._engine._tensors import mean_and_variance
from keras_deconv._engine._tensors import multiply
from keras_deconv._engine._tensors import norm_of_matrix
from keras_deconv._engine._tensors import reshape
from keras_deconv._engine._tensors import where

__all__ = [
    "Numbers",
    "Rule",
    "add_product",
    "all_reduce_sum",
    "as_constant",
    "as_number",
    "as_varying",
    "average",
    "cond",
    "constant",
    "eye",
    "full_precision",
    "gradients_are_in_order",
    "gram",
    "has_fast_eigh",
    "has_forward_mode",
    "is_recomputing",
    "lerp",
    "may_reduce_in_branches",
    "mean_and_variance",
    "multiply",
    "norm_of_matrix",
    "recomputed",
    "replica",
    "reshape",
    "run_abstractly",
    "slice_axis",
    "take_every",
    "traced_once",
    "warn_of_tf32",
    "warn_of_triton",
    "where",
    "with_gradient",
    "with_sizes_of_gradient",
]
