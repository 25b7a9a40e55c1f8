"""Named settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Settings of layers, by the name of the preset; what is not listed is as in
# the other presets. Layers take those of "paper" by default.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The authors' code.
        "paper": MappingProxyType(
            {"num_iterations": 5, "block_size": 64, "update_every": 1}
        ),
        # For narrow networks: not less accurate there, at the lowest cost.
        # Wide dense layers need wider blocks (docs/ablation.md).
        "fast": MappingProxyType(
            {"num_iterations": 3, "block_size": 16, "update_every": 8}
        ),
    }
)
