"""The runs of the paper's tables, as far as their settings are known."""

from collections.abc import Mapping
from typing import NamedTuple

# Table 1, in its order.
TABLE_1_NETWORKS = (
    "vgg16",
    "resnet18",
    "preact_resnet18",
    "densenet121",
    "resnext29_32x4d",
    "mobilenet_v2",
    "dpn92",
    "pnasnet_a",
    "senet18",
    "efficientnet_b0",
)
TABLE_1_DATASETS = ("cifar10", "cifar100")
TABLE_1_EPOCHS = (1, 20, 100)

# Figure 8.
FIGURE_8_WEIGHT_DECAYS = (0.005, 0.0005)


class SmallBatch(NamedTuple):
    """A line of Table 4; None for what the preset says.

    Attributes:
        learning_rate: None where we do not know it.
        num_iterations: Of deconvolution.
        epsilon: Of deconvolution.
    """

    learning_rate: float | None = None
    num_iterations: int | None = None
    epsilon: float | None = None


# Table 4, by batch size.
TABLE_4: Mapping[int, SmallBatch] = {
    2: SmallBatch(0.001, 2, 0.01),
    8: SmallBatch(0.01, 2, 0.01),
    32: SmallBatch(),
    128: SmallBatch(0.1),
    512: SmallBatch(0.5),
    2048: SmallBatch(),
}
