"""Named settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Settings of layers, by the name of the preset; what is not listed is as in
# the other presets. Layers take those of "fast" by default. Dense layers keep
# their own block size in every preset: a VGG16 does not train with narrow ones
# (docs/ablation.md).
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The authors' code.
        "paper": MappingProxyType(
            {
                "num_iterations": 5,
                "block_size": 64,
                "update_every": 1,
                "sampling_stride": 3,
            }
        ),
        # At the lowest cost, and at least as accurate in narrow networks, a
        # VGG16 and a ResNet18; not in a MobileNetV2 (docs/ablation.md).
        "fast": MappingProxyType(
            {
                "num_iterations": 5,
                "block_size": 16,
                "update_every": None,
                "sampling_stride": None,
            }
        ),
    }
)
