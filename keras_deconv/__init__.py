"""Network deconvolution for Keras 3: whitening instead of normalization."""

import importlib
from typing import Any

from keras_deconv import callbacks
from keras_deconv import layers
from keras_deconv import models
from keras_deconv import ops
from keras_deconv import transforms
from keras_deconv.layers import PRESETS
from keras_deconv.layers import ChannelAffine
from keras_deconv.layers import ChannelDeconv
from keras_deconv.layers import DeconvConv1D
from keras_deconv.layers import DeconvConv1DTranspose
from keras_deconv.layers import DeconvConv2D
from keras_deconv.layers import DeconvConv2DTranspose
from keras_deconv.layers import DeconvConv3D
from keras_deconv.layers import DeconvConv3DTranspose
from keras_deconv.layers import DeconvDense
from keras_deconv.layers import DeconvDepthwiseConv1D
from keras_deconv.layers import DeconvDepthwiseConv2D
from keras_deconv.layers import DeconvSeparableConv1D
from keras_deconv.layers import DeconvSeparableConv2D
from keras_deconv.layers import RemovedNormalization
from keras_deconv.layers import SmallBatchWarning
from keras_deconv.transforms import deconvolutionize
from keras_deconv.transforms import fold
from keras_deconv.transforms import plan
from keras_deconv.transforms import recalibrate
from keras_deconv.transforms import restore

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "ChannelAffine",
    "ChannelDeconv",
    "DeconvConv1D",
    "DeconvConv1DTranspose",
    "DeconvConv2D",
    "DeconvConv2DTranspose",
    "DeconvConv3D",
    "DeconvConv3DTranspose",
    "DeconvDense",
    "DeconvDepthwiseConv1D",
    "DeconvDepthwiseConv2D",
    "DeconvSeparableConv1D",
    "DeconvSeparableConv2D",
    "RemovedNormalization",
    "SmallBatchWarning",
    "callbacks",
    "deconvolutionize",
    "fold",
    "layers",
    "models",
    "ops",
    "plan",
    "recalibrate",
    "restore",
    "transforms",
]


def __getattr__(name: str) -> Any:
    # It imports matplotlib, which is an extra.
    if name == "visualization":
        return importlib.import_module("keras_deconv.visualization")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "visualization"})
