"""What happens in one call of a model, layer by layer."""

import contextlib
import functools
import inspect
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_deconv._engine import run_abstractly
from keras_deconv._types import Tensor
from keras_deconv.transforms._structure import places

# Sizes that a model leaves open: up to two of them, and more.
_SIDE, _SHORT_SIDE = 224, 32
# Largest change of outputs by rounding, relative to how much they vary, and
# to the largest of them.
_TOLERANCE = 1e-3
_ROUNDING = 1e-5
_ROUNDING_OF = {"float16": 2e-3, "bfloat16": 2e-2}


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        layer: The layer.
        inputs: The first argument.
        outputs: What the call returned.
    """

    layer: Any
    inputs: Tensor
    outputs: Tensor


@dataclass
class Trace:
    """The calls of all layers in one call of a model, in order."""

    calls: list[Call] = field(default_factory=list)
    uses: Counter[int] = field(default_factory=Counter)

    def calls_of(self, layer: Any) -> list[Call]:
        """Returns the calls of one layer."""
        return [call for call in self.calls if call.layer is layer]


def trace(model: Any, example: Any = None) -> Trace:
    """Calls a model once, in inference mode, and records its layers.

    Args:
        model: A built model; it is left as it was.
        example: Inputs; by default zeros, one sample, 224 for every other
            size that the model leaves open, 32 if these are three.

    Raises:
        ValueError: If the call fails.
    """
    _check_arguments(model)
    record = Trace()
    found = [place.layer for place in places(model)]

    def keep(layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        is_leaf = not layer._layers

        @functools.wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            outputs = call(*args, **kwargs)
            inputs = next(iter((*args, *kwargs.values())), None)
            if is_leaf:
                taken = {
                    id(each)
                    for each in keras.tree.flatten((args, kwargs))
                    if each is not None
                }
                # So that what goes in and what comes out can be told apart.
                outputs = keras.tree.map_structure(
                    lambda each: ops.copy(each) if id(each) in taken else each,
                    outputs,
                )
                record.uses.update(taken)
            record.calls.append(Call(layer, inputs, outputs))
            return outputs

        return wrapper

    try:
        inputs = zeros_for(model) if example is None else example
        with wrapped_calls(
            [model, *found],
            lambda layer, call: call if layer is model else keep(layer, call),
        ):
            run_abstractly(lambda given: call_alone(model, given), inputs)
    except Exception as error:
        raise ValueError(
            "The model must take the example, or zeros if none is given; "
            "`example` is one batch of its inputs. Received: model "
            f"'{model.name}', which fails with {type(error).__name__}: {error}"
        ) from error
    return record


def _check_arguments(model: Any) -> None:
    if isinstance(model, keras.Function | keras.Sequential):
        return
    names = [
        name
        for name, each in inspect.signature(model.call).parameters.items()
        if each.default is each.empty
        and each.kind is each.POSITIONAL_OR_KEYWORD
        and name not in ("training", "mask")
    ]
    if len(names) > 1:
        raise ValueError(
            "`call` must take one argument, which may be a list or a dict: "
            "convert a Functional model that has this one as a layer. "
            f"Received: model '{model.name}', whose `call` takes {names}"
        )


def call_alone(model: Any, inputs: Any) -> Any:
    """Calls a model in inference mode, and leaves its state as it was.

    That of a stateful layer, or of a generator of random numbers, moves at
    inference too.
    """
    with keras.StatelessScope():
        return model(inputs, training=False)


@contextlib.contextmanager
def wrapped_calls(
    layers: Iterable[Any],
    wrap: Callable[[Any, Callable[..., Any]], Callable[..., Any]],
) -> Iterator[None]:
    """Replaces `call` of each layer by `wrap(layer, call)` for a while.

    Where that is a function of TensorFlow, which may have been traced before,
    `wrap` gets what is in it.
    """
    layers = list(layers)
    # Of a layer whose `call` somebody has replaced already.
    own = {id(layer): layer.__dict__.get("call") for layer in layers}
    try:
        for layer in layers:
            # Not `setattr`: it would track the function, or refuse it.
            call = getattr(layer.call, "python_function", layer.call)
            layer.__dict__["call"] = wrap(layer, call)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("call", None)
            if own[id(layer)] is not None:
                layer.__dict__["call"] = own[id(layer)]


def predict_alike(
    a: Any, b: Any, example: Any = None, tolerance: float = _TOLERANCE
) -> bool:
    """Returns whether two models predict the same, but for rounding.

    Args:
        a: A built model.
        b: One of the same inputs.
        example: Inputs; by default noise of the sizes that `trace` takes.
        tolerance: Largest difference of outputs, relative to how much they
            vary.
    """
    if example is None:
        rng = np.random.default_rng(0)
        example = keras.tree.map_structure(
            lambda zeros: (
                rng.normal(size=zeros.shape).astype(zeros.dtype)
                if np.issubdtype(zeros.dtype, np.floating)
                else zeros
            ),
            zeros_for(a, samples=2),
        )
    pairs = zip(
        *(keras.tree.flatten(call_alone(each, example)) for each in (a, b)),
        strict=True,
    )
    rounding = _rounding_of(a)
    return all(
        _are_alike(_array(left), _array(right), tolerance, rounding)
        for left, right in pairs
        if left is not None
    )


def zeros_for(model: Any, samples: int = 1) -> Any:
    """Returns samples of zeros in the structure that a model takes.

    Raises:
        ValueError: If the model does not know the shape of its inputs.
    """

    def zeros(shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
        return _zeros((shape[0] or samples, *shape[1:]), dtype)

    if isinstance(model, keras.Sequential):
        return zeros(model.inputs[0].shape, model.inputs[0].dtype)
    if isinstance(model, keras.Function):
        return keras.tree.map_structure(
            lambda tensor: zeros(tensor.shape, tensor.dtype), model.input
        )
    shapes = dict(model.get_build_config() or {})
    shapes = shapes.get("shapes_dict", shapes)
    if len(shapes) != 1 or None in shapes.values():
        raise ValueError(f"its build shapes are {shapes}")
    (shape,) = shapes.values()
    if isinstance(shape, dict):
        return {name: zeros(each, "float32") for name, each in shape.items()}
    if shape and isinstance(shape[0], list | tuple):
        return [zeros(each, "float32") for each in shape]
    return zeros(shape, "float32")


def _zeros(shape: tuple[int | None, ...], dtype: str) -> np.ndarray:
    side = _SIDE if shape.count(None) < 3 else _SHORT_SIDE
    sizes = [side if size is None else size for size in shape]
    # NumPy has no bfloat16; Keras casts.
    if "float" in dtype:
        dtype = "float32"
    return np.zeros(sizes, "str" if dtype == "string" else dtype)


def _array(value: Any) -> np.ndarray:
    array = np.asarray(ops.convert_to_numpy(value))
    return array if array.dtype.kind in "OSU" else array.astype("float64")


def _rounding_of(model: Any) -> float:
    """Returns how far outputs may be off by rounding in a model's layers."""
    return max(
        _ROUNDING_OF.get(layer.compute_dtype, _ROUNDING)
        for layer in (model, *(place.layer for place in places(model)))
    )


def _are_alike(
    a: np.ndarray, b: np.ndarray, tolerance: float, rounding: float
) -> bool:
    """Compares with what depends on the sample, not with a large bias."""
    if a.dtype.kind in "OSU":
        return bool((a == b).all())
    has_samples = a.ndim and len(a) > 1
    spread = np.abs(a - a.mean(axis=0) if has_samples else a).max()
    allowed = tolerance * spread + rounding * np.abs(a).max()
    return bool(np.abs(a - b).max() <= allowed)
