"""What the paper's experiments set, network by network.

Settings of the authors' released code, by the name of the network in
`keras_deconv.models`. What is not listed is as in `preset="paper"`: blocks of
64 channels and, in dense layers, of 512, 5 steps of Newton-Schulz, statistics
from every third position.
"""

from collections.abc import Mapping
from typing import Any

import keras

# The first convolution has more steps than all others. Its statistics are
# those of the images, and stay: the paper stops them after 200 steps.
_STEM_10 = ("stem", {"num_iterations": 10, "freeze_after": 200})
_STEM_15 = ("stem", {"num_iterations": 15, "freeze_after": 200})
# Dense layers have blocks of 512 by default, as on CIFAR.
_DENSE_64 = (keras.layers.Dense, {"block_size": 64})
_DEPTHWISE_1 = (keras.layers.DepthwiseConv2D, {"num_iterations": 1})
_GROUPED_3 = (
    lambda path, layer: getattr(layer, "groups", 1) > 1,
    {"num_iterations": 3},
)
# The blocks of MobileNetV2 end in a projection, whose block size is the
# channels that enter the block.
_PROJECTIONS = tuple(
    (f"block{block}_project", {"block_size": channels, "num_iterations": 1})
    for block, channels in enumerate(
        (
            *(32, 16, 24, 24, 32, 32, 32, 64, 64),
            *(64, 64, 96, 96, 96, 160, 160, 160),
        ),
        start=1,
    )
)

_TABLE: dict[str, Mapping[str, Any]] = {
    # CIFAR
    "vgg11": {"rules": (_STEM_15,)},
    "vgg13": {"rules": (_STEM_15,)},
    "vgg16": {"rules": (_STEM_15,)},
    "resnet18": {},
    "preact_resnet18": {"rules": (_STEM_10,)},
    "densenet121": {},
    "resnext29_32x4d": {"rules": (_GROUPED_3, _STEM_10)},
    "mobilenet_v2": {"rules": (_DEPTHWISE_1, *_PROJECTIONS, _STEM_10)},
    "dpn92": {"rules": (_STEM_10,)},
    "pnasnet_a": {
        "block_size": 44,
        "rules": (("head", {"block_size": 512}), _STEM_10),
    },
    "senet18": {"rules": (_STEM_15,)},
    # The first and the last layer alone; all blocks keep their normalization.
    "efficientnet_b0": {
        "include": ("stem", "head"),
        "rules": (("head", {"block_size": 320}), _STEM_10),
    },
    # ImageNet
    "imagenet_vgg11": {"rules": (_DENSE_64, _STEM_15)},
    "imagenet_resnet18": {"rules": (_DENSE_64, _STEM_15)},
    "imagenet_resnet50": {"rules": (_DENSE_64, _STEM_15)},
    "imagenet_densenet121": {"rules": (_DENSE_64, _STEM_15)},
    # Cityscapes
    "deeplabv3_resnet50": {"rules": (("head", {"block_size": 256}), _STEM_15)},
}


def settings_for(name: str) -> dict[str, Any]:
    """Returns arguments of `keras_deconv.deconvolutionize` for a network.

    Args:
        name: Name of a constructor in `keras_deconv.models`.

    Raises:
        ValueError: If there is no such network.

    Example:
        >>> network = models.mobilenet_v2()
        >>> twin = deconvolutionize(network, **settings_for("mobilenet_v2"))
    """
    if name not in _TABLE:
        raise ValueError(
            f"`name` must be one of {tuple(_TABLE)}. Received: name={name!r}"
        )
    return {"preset": "paper", **_TABLE[name]}
