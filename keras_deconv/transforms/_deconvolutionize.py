"""Convolutions with batch normalization to deconvolutions without."""

from collections.abc import Iterable
from typing import Any

from keras_deconv._warnings import warn
from keras_deconv.transforms._batch_norm import affine
from keras_deconv.transforms._batch_norm import take_in
from keras_deconv.transforms._calibrate import warm_start
from keras_deconv.transforms._choice import Entry
from keras_deconv.transforms._converted import Converted
from keras_deconv.transforms._converted import Step
from keras_deconv.transforms._converted import take_steps
from keras_deconv.transforms._copy import copy_model
from keras_deconv.transforms._options import BatchNorm
from keras_deconv.transforms._options import Options
from keras_deconv.transforms._options import check_options
from keras_deconv.transforms._plan import Plan
from keras_deconv.transforms._selection import Rule
from keras_deconv.transforms._selection import Selector
from keras_deconv.transforms._structure import layer_at
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._trace import predict_alike
from keras_deconv.transforms._trace import trace
from keras_deconv.transforms._trace import zeros_for


class Conversion(Plan):
    """A plan that can be carried out.

    Args:
        model: A built `keras.Model`.
        options: What is asked for.
        example: As in `deconvolutionize`.
        calibration_data: As in `deconvolutionize`.
        trusting: As in `Plan`.
    """

    def __init__(
        self,
        model: Any,
        options: Options,
        *,
        example: Any = None,
        calibration_data: Iterable[Any] | None = None,
        trusting: bool = True,
    ) -> None:
        super().__init__(model, options, example, trusting)
        self._calibration_data = calibration_data

    def apply(self) -> Any:
        """Returns the converted model; the one it is made from stays.

        Warns if there is nothing to convert, and if code of the model uses
        layers in ways that a conversion does not see.
        """
        if not self.converts:
            warn(
                f"Model '{self.model.name}' has nothing to convert, and is "
                f"copied: {self._count()}. `print(keras_deconv.plan(model))` "
                "says why."
            )
        plan: Conversion = self
        model = self._convert()
        # Statistics are the identity as yet, so that only folding counts.
        if self._must_be_verified() and not predict_alike(
            self.model, model, self._example
        ):
            plan = Conversion(
                self.model, self._options, example=self._example, trusting=False
            )
            model = plan._convert()
        new = [each for each in plan.entries if each.action == "deconvolve"]
        self._warn_of_lost_layers(model, new)
        if self._calibration_data is not None:
            addresses = {entry.address for entry in new}
            warm_start(model, addresses, self._calibration_data)
            self._warn_of_other_predictions(model)
        return model

    def _warn_of_lost_layers(self, model: Any, new: Iterable[Entry]) -> None:
        """Warns if code goes on calling layers that were replaced."""
        inside = (place.layer for place in places(model))
        if not any(isinstance(each, Converted) for each in (model, *inside)):
            return  # All calls are in graphs.
        called = {id(call.layer) for call in trace(model, self._example).calls}
        lost = [
            entry.path
            for entry in new
            if self._choice.is_called(layer_at(self.model, entry.address))
            and id(layer_at(model, entry.address)) not in called
        ]
        if lost:
            warn(
                "Layers must be called as attributes of what they are in, or "
                "in a graph: a closure or `functools.partial` of the model "
                "goes on calling the plain ones. Exclude such layers, or "
                f"change the code. Received: {', '.join(lost)}"
            )

    def _warn_of_other_predictions(self, model: Any) -> None:
        is_alike = predict_alike(
            self.model, model, self._example, tolerance=0.05
        )
        if not is_alike and not self._has_moving_state():
            warn(
                f"Model '{self.model.name}' and its twin do not predict the "
                "same, which `calibration_data` is for. Code that uses the "
                "kernel of a layer, as tied weights do, sees another one: "
                "exclude such layers"
            )

    def _has_moving_state(self) -> bool:
        """Returns whether a call changes what the model predicts next."""
        copy = copy_model(self.model)
        if not predict_alike(self.model, copy, self._example):
            return False  # The copy itself is at fault.
        inputs = zeros_for(copy) if self._example is None else self._example
        copy(inputs, training=False)
        return not predict_alike(self.model, copy, self._example)

    def _convert(self) -> Any:
        model = copy_model(self.model)
        take_steps(model, self._steps())
        for entry in self.entries:
            if entry.action not in ("fold", "freeze"):
                continue
            norm = layer_at(self.model, entry.address)
            scale, offset = affine(norm)
            if entry.action == "fold":
                taker = self._choice.address_of(self._choice.feeding(norm))
                take_in(layer_at(model, taker), scale, offset)
            else:
                new = layer_at(model, entry.address)
                new.scale.assign(scale)
                new.offset.assign(offset)
        return model

    def _steps(self) -> list[Step]:
        steps: list[Step] = []
        for entry in self.entries:
            layer = layer_at(self.model, entry.address)
            if entry.action == "deconvolve":
                arguments = {
                    "use_bias": layer.use_bias or entry.adds_bias,
                    "settings": dict(entry.settings),
                }
                steps.append((entry.address, "deconvolve", arguments))
            elif entry.adds_bias:
                steps.append((entry.address, "add_bias", {}))
            elif entry.action in ("remove", "fold"):
                arguments = {"took_bias": self._takes_bias(layer)}
                steps.append((entry.address, "remove", arguments))
            elif entry.action == "freeze":
                steps.append((entry.address, "freeze", {}))
        return steps

    def _takes_bias(self, norm: Any) -> bool:
        """Returns whether what feeds a normalization gets its first bias."""
        feeding = self._choice.feeding(norm)
        return getattr(feeding, "use_bias", True) is False

    def _must_be_verified(self) -> bool:
        return self._trusting and any(
            entry.action == "fold" for entry in self.entries
        )


def plan(
    model: Any,
    *,
    include: Selector | None = None,
    exclude: Selector | None = None,
    rules: Iterable[Rule] | str = (),
    preset: str | None = None,
    dense: bool = True,
    batch_norm: BatchNorm | None = None,
    calibration_data: Iterable[Any] | None = None,
    example: Any = None,
    **settings: Any,
) -> Conversion:
    """Returns what `deconvolutionize` would do with a model: a dry run.

    `print(plan)` shows a table, `plan.to_dict()` is plain data, and
    `plan.apply()` converts. Arguments and errors are those of
    `deconvolutionize`; nothing is changed.

    Example:
        >>> print(plan(keras.applications.MobileNetV2(weights=None)))
    """
    options = check_options(
        include=include,
        exclude=exclude,
        rules=rules,
        preset=preset,
        dense=dense,
        batch_norm=batch_norm,
        preserving=calibration_data is not None,
        settings=settings,
    )
    return Conversion(
        model, options, example=example, calibration_data=calibration_data
    )


def deconvolutionize(
    model: Any,
    *,
    include: Selector | None = None,
    exclude: Selector | None = None,
    rules: Iterable[Rule] | str = (),
    preset: str | None = None,
    dense: bool = True,
    batch_norm: BatchNorm | None = None,
    calibration_data: Iterable[Any] | None = None,
    example: Any = None,
    **settings: Any,
) -> Any:
    """Returns the deconvolved twin of a model.

    Every convolution (depthwise, separable and transposed ones too) and
    every `Dense` becomes its deconvolution layer with the same name and the
    same weights, and every `BatchNormalization` is removed (network
    deconvolution, section 4). A convolution that fed a `BatchNormalization`
    gets a bias in return. Layers that are not trainable, whose D would never
    move, are left without `calibration_data`, as are cells of recurrent layers.
    All else is copied: the twin has the class of
    `model`, and names, attributes, trainable flags, dtype policies and
    shared layers. `model` itself is left as it is; the twin shares no
    weights with it and is not compiled.

    Layers are found wherever they are: in nested models, in layers that
    hold others, in subclassed models. Where the configuration of such a
    container would make the original layers again, the container remembers
    its conversion instead, and `keras.models.load_model` needs no more than
    `import keras_deconv`.

    The twin predicts something else than `model`: the kernels now act on
    whitened inputs, so it has to be trained. With `calibration_data` it
    starts from the predictions of `model`.

    Args:
        model: A built `keras.Model`.
        include: Which layers are converted; all by default. A name, a path,
            a compiled regular expression that is searched for in the path, a
            layer, a class, a function of path and layer, or a list of these.
            A container, or its name, path or class, stands for all layers in
            it.
        exclude: Which layers are left, in the same terms.
        rules: Settings layer by layer: a list of `(selector, settings)`, of
            which later ones override; `None` for the settings leaves the
            layer as it is. `"paper"`: 15 steps for the first convolution,
            frozen after 200 training steps; 1 step for depthwise ones and
            for the projections of MobileNets and EfficientNets (1 x 1, with
            "project" in the name), 3 for grouped ones. `"stem"`: the first
            convolution alone.
        preset: Name of settings in `keras_deconv.PRESETS`. Without one, each
            layer keeps the defaults of its class; dense layers keep their
            block size in any case. Without one, and with `"fast"`, depthwise
            convolutions and projections (see `rules`) have 1 step, unless
            `settings` or `rules` say otherwise.
        dense: Whether `Dense` layers are converted.
        batch_norm: `"remove"`, as in the paper; `"fold"`: into the
            convolution before it, and where that cannot be, to a constant
            scale and offset, so that the function stays; or `"keep"`. The
            default is `"fold"` with `calibration_data`, which excludes
            `"remove"`; else `"keep"` with the rules `"stem"`; else
            `"remove"`. But for `"fold"`, a normalization also stays where the
            last layer with a kernel before it is left; a subclass of
            `BatchNormalization` always stays.
        calibration_data: An iterable of batches of inputs, or of tuples of
            inputs and targets (PyTorch's `DataLoader` too). Mean and D of
            every layer are estimated from it, the kernels become
            `D ** -1 w`, and the biases take in the mean, so that the twin
            predicts what `model` predicts.
        example: One batch of inputs, for models that do not know the shape
            of what they take.
        **settings: Settings of the layers, by name: `block_size`,
            `sampling_stride`, `num_iterations`, ...; see `DeconvConv2D`.
            Each layer takes those that it has. They override the preset;
            `rules` override both.

    Warns:
        UserWarning: If there is nothing to convert, code goes on calling
            plain layers, or the twin does not predict what it should with
            `calibration_data`, or that has statistics that are not finite.

    Raises:
        ValueError: If `model` is not built, cannot be rebuilt from its
            configuration or cannot be called on zeros, or an argument is out
            of range.
        TypeError: If no layer has such a setting, or a selector is none.

    Example:
        >>> twin = deconvolutionize(keras.applications.ResNet50(weights=None))
    """
    return plan(
        model,
        include=include,
        exclude=exclude,
        rules=rules,
        preset=preset,
        dense=dense,
        batch_norm=batch_norm,
        calibration_data=calibration_data,
        example=example,
        **settings,
    ).apply()
