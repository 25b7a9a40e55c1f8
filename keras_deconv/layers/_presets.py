"""Named settings."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# Settings of layers, by the name of the preset; what is not listed is as in
# the other presets.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The authors' code.
        "paper": MappingProxyType(
            {"block_size": 64, "update_every": 1, "differentiate": True}
        ),
        # Smaller blocks, D on every 4th step, and no gradient through it.
        "fast": MappingProxyType(
            {"block_size": 32, "update_every": 4, "differentiate": False}
        ),
    }
)
