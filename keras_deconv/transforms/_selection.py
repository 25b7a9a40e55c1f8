"""Which layers, and with which settings."""

import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

import keras

from keras_deconv.transforms._structure import Place

# A name or path, a pattern found in the path, a layer, a class,
# `f(path, layer)`, or several of these, one of which has to match.
Selector: TypeAlias = (
    str
    | re.Pattern[str]
    | keras.layers.Layer
    | type
    | Callable[[str, Any], bool]
    | Iterable["Selector"]
)
# Settings of the layers that match, or None to leave those as they are.
Rule: TypeAlias = tuple[Selector, Mapping[str, Any] | None]


def lasting(selector: Any) -> Any:
    """Returns a selector, or None, that may be read more than once."""
    if isinstance(selector, str) or not isinstance(selector, Iterable):
        return selector
    return [lasting(each) for each in selector]


def matches(selector: Selector, place: Place) -> bool:
    """Returns whether a selector selects a layer.

    What a layer is in, or its name, path or class, stands for the layer too.

    Raises:
        TypeError: If it is no selector.
    """
    if isinstance(selector, str):
        return any(
            selector in (each.layer.name, each.path) for each in place.way
        )
    if isinstance(selector, re.Pattern):
        return selector.search(place.path) is not None
    if isinstance(selector, keras.layers.Layer):
        return any(each.layer is selector for each in place.way)
    if isinstance(selector, type):
        return any(isinstance(each.layer, selector) for each in place.way)
    if callable(selector):
        return bool(selector(place.path, place.layer))
    if isinstance(selector, Iterable):
        return any(matches(each, place) for each in selector)
    raise TypeError(
        "A selector must be a name, a path, a compiled regular expression, a "
        "layer, a class, a function of path and layer, or several of these. "
        f"Received: {selector!r}"
    )


def check_names(selectors: Iterable[Selector], found: Sequence[Place]) -> None:
    """Raises ValueError if a name, or a layer, selects no layer at all."""
    for selector in selectors:
        if isinstance(selector, keras.layers.Layer):
            if not any(place.layer is selector for place in found):
                raise ValueError(
                    "A layer must be one of the model, not of a copy. "
                    f"Received: layer '{selector.name}'"
                )
        elif isinstance(selector, str):
            if not any(matches(selector, place) for place in found):
                raise ValueError(
                    "A name must be that of a layer, or its path. Received: "
                    f"{selector!r}; there are "
                    f"{', '.join(place.path for place in found[:8])}, ..."
                )
        elif isinstance(selector, Iterable):
            check_names(selector, found)


def settings_for(
    place: Place, rules: Iterable[Rule], settings: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Returns the settings of a layer by all rules, or None to leave it.

    Rules go in order: a later one overrides what an earlier one sets.
    """
    found: dict[str, Any] | None = dict(settings)
    for selector, changes in rules:
        if matches(selector, place):
            found = (
                None if changes is None else {**(found or settings), **changes}
            )
    return found


def is_depthwise(path: str, layer: Any) -> bool:
    """Selects depthwise convolutions."""
    del path
    return isinstance(
        layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D
    )


def is_grouped(path: str, layer: Any) -> bool:
    """Selects convolutions of several groups."""
    del path
    return getattr(layer, "groups", 1) > 1


def is_projection(path: str, layer: Any) -> bool:
    """Selects the last convolutions of inverted residual blocks.

    By their names, which say so in MobileNets and EfficientNets of
    keras.applications, keras-cv and keras-hub.
    """
    del path
    return (
        isinstance(layer, keras.layers.Conv2D)
        and layer.kernel_size == (1, 1)
        and "project" in layer.name
    )


def _only(chosen: Place) -> Selector:
    """Selects one layer alone: the path of one may be the name of another."""
    return lambda path, layer: layer is chosen.layer


def paper_rules(first: Place | None) -> list[Rule]:
    """Returns what the paper's experiments set layer by layer.

    The first convolution has 15 steps and is frozen after 200 training
    steps; depthwise convolutions and projections have 1 step, grouped
    convolutions 3.
    """
    rules: list[Rule] = [
        (is_grouped, {"num_iterations": 3}),
        (is_depthwise, {"num_iterations": 1}),
        (is_projection, {"num_iterations": 1}),
    ]
    if first is not None:
        settings = {"num_iterations": 15, "freeze_after": 200}
        rules.append((_only(first), settings))
    return rules


def stem_rules(first: Place | None) -> list[Rule]:
    """Returns rules that convert the first convolution alone."""
    rules: list[Rule] = [(lambda path, layer: True, None)]
    if first is not None:
        rules.append((_only(first), {}))
    return rules


# With the preset "fast", and without one: more steps in these layers are what
# a MobileNetV2 learns badly with (docs/ablation.md).
FAST_RULES: Sequence[Rule] = (
    (is_depthwise, {"num_iterations": 1}),
    (is_projection, {"num_iterations": 1}),
)

RULE_SETS = {"paper": paper_rules, "stem": stem_rules}
