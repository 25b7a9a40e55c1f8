"""Pictures of what deconvolution layers see and do.

Every function returns a `matplotlib.figure.Figure` of its own, made without
pyplot: `figure.savefig(path)` writes it, a notebook shows it. This part of
the package needs matplotlib, which is the extra `viz`.
"""

import importlib.util

if importlib.util.find_spec("matplotlib") is None:
    raise ModuleNotFoundError(
        "`keras_deconv.visualization` needs matplotlib, which is the extra "
        "`viz` of the package: `pip install matplotlib`",
        name="matplotlib",
    )

from keras_deconv.visualization._conditions import plot_conditions
from keras_deconv.visualization._covariances import plot_covariances
from keras_deconv.visualization._densities import plot_densities
from keras_deconv.visualization._kernels import deconv_kernels
from keras_deconv.visualization._kernels import plot_deconv_kernels
from keras_deconv.visualization._spectra import plot_spectra

__all__ = [
    "deconv_kernels",
    "plot_conditions",
    "plot_covariances",
    "plot_deconv_kernels",
    "plot_densities",
    "plot_spectra",
]
