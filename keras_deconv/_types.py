"""Types that every module shares."""

from typing import Any
from typing import Literal
from typing import TypeAlias

# A tensor of whichever backend Keras runs on; no common base class exists.
Tensor: TypeAlias = Any

BlockLayout: TypeAlias = Literal["interleaved", "contiguous"]
DataFormat: TypeAlias = Literal["channels_last", "channels_first"]
Padding: TypeAlias = Literal["valid", "same", "causal"]
RootMethod: TypeAlias = Literal["newton_schulz", "minimax", "eigh"]
