"""The same layer in another class: plain for deconvolved, and back."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras

# Arguments that deconvolution layers refuse: they are for the plain layer.
_PLAIN_ONLY = ("lora_rank", "lora_alpha", "quantization_config")


def make_twin(layer: Any, cls: type[Any], **changes: Any) -> Any:
    """Returns a built layer of class `cls` with the arguments of `layer`.

    Arguments are read from the live layer, not from its configuration: an
    activation may be an object that no configuration describes.

    Args:
        layer: A built layer, plain or deconvolved.
        cls: Its counterpart class.
        **changes: Arguments of `cls` that differ.

    Raises:
        ValueError: If `layer` is unbuilt, quantized or LoRA-enabled.
    """
    check_built(layer)
    if reason := adapter_of(layer):
        raise ValueError(
            f"A layer that is {reason} cannot be converted or folded. "
            f"Received: layer '{layer.name}'"
        )
    twin = unbuilt_twin(layer, cls, **changes)
    with _no_random_numbers(twin):
        twin.build(layer.get_build_config()["input_shape"])
    return twin


def unbuilt_twin(layer: Any, cls: type[Any], **changes: Any) -> Any:
    """Returns what `make_twin` returns, before it is built."""
    plain_class = getattr(cls, "plain_class", cls)
    arguments = {
        name: getattr(layer, name)
        for name, parameter in inspect.signature(plain_class).parameters.items()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        and name not in _PLAIN_ONLY
    }
    arguments |= {
        "name": layer.name,
        "dtype": layer.dtype_policy,
        "trainable": layer.trainable,
    }
    return cls(**arguments | changes)


@contextlib.contextmanager
def _no_random_numbers(layer: Any) -> Iterator[None]:
    """Weights start as zeros, which is faster: a twin gets others at once."""
    initializers = {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, keras.initializers.Initializer)
    }
    for name in initializers:
        setattr(layer, name, keras.initializers.Zeros())
    yield
    for name, value in initializers.items():
        setattr(layer, name, value)


def adapter_of(layer: Any) -> str | None:
    """Returns what keeps a layer's weights in its class, or None."""
    if getattr(layer, "lora_enabled", False):
        return f"LoRA-enabled (rank {layer.lora_rank})"
    if mode := getattr(layer, "quantization_mode", None):
        return f"quantized (mode '{mode}')"
    return None


def check_built(layer: Any) -> None:
    """Raises ValueError unless the layer is built."""
    if not layer.built:
        raise ValueError(
            "A layer must be built before it can be converted or folded. "
            f"Received: unbuilt layer '{layer.name}'"
        )
