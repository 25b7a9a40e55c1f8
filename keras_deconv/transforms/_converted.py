"""Models and layers that remember how they were converted.

The configuration of a Sequential or Functional model lists its layers, so
the model says by itself that they were converted. That of a backbone or of
any layer with layers inside is the arguments of its constructor, which
would make the original layers again. Such a container gets a subclass of
its own class, the configuration of which is that of the original and the
steps of the conversion.
"""

import contextlib
import functools
import warnings
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import keras

from keras_deconv.transforms._functions import distinct_functions
from keras_deconv.transforms._functions import with_functions
from keras_deconv.transforms._steps import STEPS
from keras_deconv.transforms._structure import Address
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import build_configs
from keras_deconv.transforms._structure import describe
from keras_deconv.transforms._structure import layer_at
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._structure import rebuild
from keras_deconv.transforms._structure import serialize
from keras_deconv.transforms._surgery import replace_layers

# Attributes of a converted container.
_REMEMBERED = ("made_from", "functions", "built_inside", "conversions")

# Where, the name of the step, its arguments.
Step = tuple[Address, str, dict[str, Any]]


def take_steps(model: Any, steps: Iterable[Step]) -> None:
    """Converts layers of a model, in the model itself.

    Args:
        model: Built; it is changed.
        steps: All at different addresses.
    """
    steps = list(steps)
    changes = {id(layer_at(model, step[0])): step for step in steps}
    taken = []
    for owner in (model, *(place.layer for place in places(model))):
        own_steps = [
            (place.address, *changes[id(place.layer)][1:])
            for place in places(owner)
            if id(place.layer) in changes
        ]
        if own_steps and not _lists_layers(owner):
            taken.append((owner, own_steps))
    with distinct_functions(model) as functions:
        for owner, _ in taken:
            if not isinstance(owner, Converted):
                _mark(owner, functions)
    pairs = []
    for address, name, arguments in steps:
        old = layer_at(model, address)
        with _scope_of(old):
            pairs.append((old, STEPS[name](old, **arguments)))
    replace_layers(model, pairs)
    for owner, own_steps in taken:
        if isinstance(owner, Converted):
            owner.conversions.append(own_steps)


@keras.saving.register_keras_serializable(package="keras_deconv")
class Converted(keras.layers.Layer):
    """Mixin of a container whose layers were converted after it was made.

    Attributes:
        made_from: The serialized original.
        functions: Those that have names of their own in it.
        built_inside: What the layers in the original were built from: it may
            not say itself, where it takes several inputs.
        conversions: The steps of each conversion since then, addresses from
            here.
    """

    made_from: dict[str, Any]
    functions: dict[str, Any]
    built_inside: list[tuple[Address, dict[str, Any]]]
    conversions: list[list[Step]]

    # A class of the user may take arguments, or note its subclasses.
    def __init_subclass__(cls, **kwargs: Any) -> None:
        pass

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trainable": self.trainable,
            "made_from": with_functions(self.made_from, self.functions),
            "built_inside": [
                [list(address), config] for address, config in self.built_inside
            ],
            "conversions": [
                [
                    [list(address), name, arguments]
                    for address, name, arguments in steps
                ]
                for steps in self.conversions
            ],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        with _known(cls.plain_objects()):
            layer = rebuild(config["made_from"], config.get("built_inside", ()))
        for steps in config["conversions"]:
            take_steps(
                layer,
                [
                    (tuple(address), name, arguments)
                    for address, name, arguments in steps
                ],
            )
        layer.name = config["name"]
        if layer.trainable != config["trainable"]:
            layer.trainable = config["trainable"]
        return layer

    @classmethod
    def plain_objects(cls) -> dict[str, Any]:
        """Returns the class that the container had before, by its name."""
        if cls is Converted:
            return {}  # From a file: it must be registered.
        _, plain = cls.__bases__
        return {keras.saving.get_registered_name(plain): plain}

    def build_from_config(self, config: dict[str, Any]) -> None:
        # Made from a built layer, which came with its own configuration.
        if not self.built:
            super().build_from_config(config)

    def __reduce__(self) -> Any:
        # The class of this object cannot be found by its name.
        _, arguments = super().__reduce__()
        return Converted._unpickle_model, arguments


@contextlib.contextmanager
def _known(objects: dict[str, Any]) -> Iterator[None]:
    """Has Keras find objects by their name for a while.

    Not a scope of custom objects: it would hide those of an outer one.
    """
    registry = keras.saving.get_custom_objects()
    before = dict(registry)
    registry.update(objects)
    try:
        yield
    finally:
        for name in objects:
            del registry[name]
            if name in before:
                registry[name] = before[name]


@contextlib.contextmanager
def _scope_of(layer: Any) -> Iterator[None]:
    """Gives new weights the paths of those that they replace."""
    with contextlib.ExitStack() as stack:
        for name in (layer.path or layer.name).split("/")[:-1]:
            stack.enter_context(keras.name_scope(name))
        yield


def _lists_layers(layer: Any) -> bool:
    """Returns whether the configuration of a layer lists those inside."""
    if type(layer) is keras.Sequential:
        return True
    if not isinstance(layer, keras.Function):
        return False
    with warnings.catch_warnings():
        # This configuration is not stored.
        warnings.filterwarnings("ignore", "The object being serialized incl")
        keys: set[str] = set(layer.get_config())
    return {"layers", "input_layers", "output_layers"} <= keys


def _mark(layer: Any, functions: dict[str, Any]) -> None:
    try:
        made_from = serialize(layer)
    except NotImplementedError:
        return  # Cannot be saved, neither before nor after.
    cls: Any = type(layer)
    layer.__class__ = _subclass(cls)
    values: tuple[Any, ...] = (made_from, functions, build_configs(layer), [])
    for name, value in zip(_REMEMBERED, values, strict=True):
        object.__setattr__(layer, name, value)


def unmark(model: Any) -> None:
    """Takes the memory of steps from containers that are as they were made.

    Only what is as its own constructor makes it forgets. The classes of its
    layers, and functions, must be registered, or in scope.
    """
    made: dict[Address, Any] = {}
    for place in (Place((), "", model), *places(model)):
        layer, address = place.layer, place.address
        if not isinstance(layer, Converted):
            continue
        # A layer may have no configuration that makes it by itself, so what
        # is made anew is the outermost container.
        outer = [key for key in made if key == address[: len(key)]]
        if outer:
            fresh = layer_at(made[outer[0]], address[len(outer[0]) :])
        else:
            fresh = made[address] = rebuild(
                with_functions(layer.made_from, layer.functions),
                layer.built_inside,
                safe_mode=False,
            )
        if describe(fresh) == describe(layer):
            layer.__class__ = type(fresh)
            for name in _REMEMBERED:
                del layer.__dict__[name]


@functools.cache
def _subclass(cls: Any) -> Any:
    """Returns the class of converted objects of a class."""
    names = ("__module__", "__qualname__", "__doc__")
    body = {name: getattr(cls, name) for name in names}
    metaclass: Any = type(cls)
    subclass = metaclass(cls.__name__, (Converted, cls), body)
    return keras.saving.register_keras_serializable(
        "keras_deconv", "Converted"
    )(subclass)
