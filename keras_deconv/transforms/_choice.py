"""What happens to each layer, and why."""

import itertools
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import TypeAlias

import keras

from keras_deconv.layers import TRANSPOSED
from keras_deconv.layers import Whitening
from keras_deconv.layers import adapter_of
from keras_deconv.layers import unbuilt_twin
from keras_deconv.transforms._batch_norm import BATCH_NORM
from keras_deconv.transforms._batch_norm import can_take
from keras_deconv.transforms._batch_norm import producers
from keras_deconv.transforms._batch_norm import sources
from keras_deconv.transforms._cost import Cost
from keras_deconv.transforms._cost import cost_of
from keras_deconv.transforms._cost import whitening
from keras_deconv.transforms._options import Options
from keras_deconv.transforms._selection import RULE_SETS
from keras_deconv.transforms._selection import Rule
from keras_deconv.transforms._selection import check_names
from keras_deconv.transforms._selection import matches
from keras_deconv.transforms._selection import settings_for
from keras_deconv.transforms._steps import TWINS
from keras_deconv.transforms._structure import Address
from keras_deconv.transforms._structure import Place
from keras_deconv.transforms._structure import is_tied
from keras_deconv.transforms._structure import places
from keras_deconv.transforms._structure import tied_weights
from keras_deconv.transforms._trace import Call
from keras_deconv.transforms._trace import trace

Action: TypeAlias = Literal[
    "deconvolve", "leave", "remove", "fold", "freeze", "keep"
]
# Layers that multiply with a kernel, or hold code that may.
_UNKNOWN = {
    "Lambda": "its code cannot be entered",
    "TFSMLayer": "its code cannot be entered",
    "TorchModuleWrapper": "its code cannot be entered",
    "JaxLayer": "its code cannot be entered",
    "FlaxLayer": "its code cannot be entered",
    "EinsumDense": "has no deconvolved twin",
}


@dataclass(frozen=True)
class Entry:
    """What happens to one layer.

    Attributes:
        path: Where it is, by names.
        address: Where it is, by indices.
        kind: The name of its class.
        action: `"deconvolve"` or `"leave"` for a layer with a kernel;
            `"remove"`, `"fold"` (into the convolution before it),
            `"freeze"` (to a scale and an offset for each channel) or
            `"keep"` for a batch normalization.
        reason: Why, where that is not plain from the action.
        settings: Those of a deconvolved layer.
        adds_bias: Whether the layer gets a bias that it lacks.
        before: What it holds and computes.
        after: The same after the conversion.
    """

    path: str
    address: Address
    kind: str
    action: Action
    reason: str
    settings: Mapping[str, Any]
    adds_bias: bool
    before: Cost
    after: Cost


class Choice:
    """Chooses what happens to each layer of a model.

    Args:
        model: A built model.
        options: What is asked for.
        example: Inputs to call the model with; see `trace`.
        trusting: Whether a normalization may be folded into a convolution
            where only a comparison of outputs tells that this is right.
    """

    def __init__(
        self, model: Any, options: Options, example: Any, trusting: bool
    ) -> None:
        self.model = model
        self.options = options
        self._found = list(places(model))
        self._places = {id(place.layer): place for place in self._found}
        self._record = trace(model, example)
        self._trusting = trusting
        self._rules = self._choose_rules()
        self._sources = sources(self._record, model, self._found, BATCH_NORM)
        self._feeding = producers(self._sources)
        self._tied = tied_weights(model)
        self._taken = self._pair_up()

    def entries(self) -> list[Entry]:
        """Returns what happens to each layer, in the order of the model's."""
        for name in ("include", "exclude"):
            selector = getattr(self.options, name)
            if selector is not None:
                check_names([selector], self._found)
        entries = (self._entry(place) for place in self._found)
        return [entry for entry in entries if entry is not None]

    def feeding(self, norm: Any) -> Any:
        """Returns the layer that feeds a normalization, if there is one."""
        return self._feeding.get(id(norm))

    def address_of(self, layer: Any) -> Address:
        """Returns where a layer is, by indices."""
        return self._places[id(layer)].address

    def is_called(self, layer: Any) -> bool:
        """Returns whether the model calls a layer."""
        return bool(self._record.calls_of(layer))

    def _choose_rules(self) -> Sequence[Rule]:
        rules = self.options.rules
        if isinstance(rules, str):
            if rules not in RULE_SETS:
                raise ValueError(
                    f"`rules` must be one of {tuple(RULE_SETS)}, or a list of "
                    f"(selector, settings). Received: rules={rules!r}"
                )
            convolutions = (
                self._places[id(call.layer)]
                for call in self._record.calls
                if type(call.layer) in TWINS
                and not isinstance(call.layer, keras.layers.Dense)
            )
            return RULE_SETS[rules](next(convolutions, None))
        check_names([selector for selector, _ in rules], self._found)
        return rules

    def _pair_up(self) -> dict[int, Any]:
        """Returns the normalizations that are folded, by their layer."""
        if self.options.batch_norm != "fold":
            return {}
        pairs = {}
        for place in self._found:
            layer = self._feeding.get(id(place.layer))
            if (
                type(layer) in TWINS
                and type(place.layer) is BATCH_NORM
                and not self._is_tied(layer)
                and can_take(
                    layer, place.layer, self._record, self.model, self._trusting
                )
            ):
                pairs[id(layer)] = place.layer
        return pairs

    def _entry(self, place: Place) -> Entry | None:
        layer = place.layer
        if isinstance(layer, BATCH_NORM):
            return self._norm_entry(place)
        if reason := self._why_left(place):
            return self._left(place, reason)
        return self._deconvolved(place) if type(layer) in TWINS else None

    def _why_left(self, place: Place) -> str | None:
        """Returns why a layer that may have a kernel is left as it is."""
        layer, options = place.layer, self.options
        kind = type(layer).__name__
        if isinstance(layer, Whitening):
            return "deconvolved already"
        if kind in _UNKNOWN:
            return _UNKNOWN[kind]
        if type(layer) not in TWINS:
            base = next((cls for cls in TWINS if isinstance(layer, cls)), None)
            if base is None:
                return None
            return f"a subclass of {base.__name__} may compute otherwise"
        if not self._is_selected(place):
            return "not selected"
        if isinstance(layer, keras.layers.Dense) and not options.dense:
            return "a dense layer"
        if self._settings(place) is None:
            return "by a rule"
        if not layer.built:
            return "never built"
        if self._is_tied(layer):
            return "another layer has its weights too"
        if adapter := adapter_of(layer):
            return f"it is {adapter}"
        if options.preserving and isinstance(layer, TRANSPOSED):
            return "no bias stands for the mean of its input"
        if not layer.trainable and not options.preserving:
            return "not trainable: its D would stay the identity"
        if any(isinstance(each.layer, keras.layers.RNN) for each in place.way):
            return "called once for each time step"
        return None

    def _settings(self, place: Place) -> dict[str, Any] | None:
        preset = dict(self.options.preset)
        if isinstance(place.layer, keras.layers.Dense):
            # Presets speak of the blocks of convolutions.
            preset.pop("block_size", None)
        given = self.options.settings
        found = settings_for(place, self._rules, {**preset, **given})
        if found is None or found.get("method") == "minimax":
            return found  # That method stands for five steps.
        preset |= settings_for(place, self.options.preset_rules, {}) or {}
        return settings_for(place, self._rules, {**preset, **given})

    def _left(self, place: Place, reason: str) -> Entry:
        layer = place.layer
        before = cost_of(layer, self._record.calls_of(layer))
        gains = self._gains_bias(layer)
        after = before + Cost(_outputs(layer) if gains else 0)
        return self._make_entry(
            place, "leave", reason, {}, gains, before, after
        )

    def _deconvolved(self, place: Place) -> Entry:
        layer = place.layer
        cls = TWINS[type(layer)]
        names = cls.setting_names()
        chosen = self._settings(place) or {}
        settings = {name: chosen[name] for name in chosen if name in names}
        calls = self._record.calls_of(layer)
        gains = self._gains_bias(layer) or (
            self.options.preserving and not layer.use_bias
        )
        before = cost_of(layer, calls)
        bias = Cost(_outputs(layer) if gains else 0)
        twin = unbuilt_twin(layer, cls, **settings)
        # Plain data, also where NumPy's numbers were given.
        settings = {name: getattr(twin, name) for name in settings}
        after = before + bias + whitening(twin, layer, calls)
        return self._make_entry(
            place,
            "deconvolve",
            "" if calls else "not called by the model",
            settings,
            gains,
            before,
            after,
        )

    def _norm_entry(self, place: Place) -> Entry:
        layer, batch_norm = place.layer, self.options.batch_norm
        before = cost_of(layer, self._record.calls_of(layer))
        feeding = self._feeding.get(id(layer))
        action: Action
        action, reason, after = "remove", "", Cost()
        if type(layer) is not BATCH_NORM:
            action, after = "keep", before
            reason = "a subclass of BatchNormalization may compute otherwise"
        elif batch_norm == "keep":
            action, after = "keep", before
        elif not self._is_selected(place):
            action, reason, after = "keep", "not selected", before
        elif not layer.built:
            action, reason, after = "keep", "never built", before
        elif batch_norm == "fold":
            if feeding is not None and self._taken.get(id(feeding)) is layer:
                action, reason = "fold", f"into {feeding.name}"
            else:
                action, reason = "freeze", "no convolution can take it in"
                channels = layer.moving_mean.shape[0]
                after = Cost(0, 2 * channels, before.flops / 2)
        elif left := self._left_around(layer):
            action, reason = "keep", f"{left.name} is left as it is"
            after = before
        return self._make_entry(place, action, reason, {}, False, before, after)

    def _is_selected(self, place: Place) -> bool:
        include, exclude = self.options.include, self.options.exclude
        # Selecting convolutions does not unselect their normalization.
        if exclude is not None and matches(exclude, place):
            return False
        return (
            include is None
            or isinstance(place.layer, BATCH_NORM)
            or matches(include, place)
        )

    def _left_around(self, norm: Any) -> Any:
        """Returns the layer for which a normalization stays, or None.

        It stays where the layer with a kernel that feeds it stays: directly,
        or as the last one before it with outputs of its rank. At the start
        of a model, the next one decides.
        """
        near = [each for each in self._sources[id(norm)] if _has_kernel(each)]
        if not near:
            near = [
                self._kernel_by(index, call)
                for index, call in enumerate(self._record.calls)
                if call.layer is norm
            ]
        return next(
            (each for each in near if each and not self._whitens(each)), None
        )

    def _kernel_by(self, index: int, call: Call) -> Any:
        """Returns the layer with a kernel next to a call, or None."""
        calls = self._record.calls
        near = itertools.chain(
            (each for each in reversed(calls[:index]) if _is_like(each, call)),
            calls[index + 1 :],
            reversed(calls[:index]),
        )
        return next(
            (each.layer for each in near if _has_kernel(each.layer)), None
        )

    def _whitens(self, layer: Any) -> bool:
        """Returns whether a layer with a kernel whitens, or will."""
        if type(layer) not in TWINS:
            return isinstance(layer, Whitening)
        return self._why_left(self._places[id(layer)]) is None

    def _gains_bias(self, layer: Any) -> bool:
        """Returns whether a layer loses its normalization, and has no bias."""
        if getattr(layer, "use_bias", True) or not layer.built:
            return False
        if self.options.batch_norm == "fold":
            return id(layer) in self._taken
        return self.options.batch_norm == "remove" and any(
            any(source is layer for source in sources)
            and self._norm_entry(self._places[key]).action == "remove"
            for key, sources in self._sources.items()
        )

    def _is_tied(self, layer: Any) -> bool:
        """Returns whether another layer has weights of this one too."""
        return is_tied(layer, self._tied)

    def _make_entry(self, place: Place, *rest: Any) -> Entry:
        kind = type(place.layer).__name__
        return Entry(place.path, place.address, kind, *rest)


def _has_kernel(layer: Any) -> bool:
    """Returns whether a layer mixes channels, or may."""
    if isinstance(layer, keras.layers.RNN):
        return True  # Some backends do not call its cell.
    if layer is None or layer._layers:
        return False
    if isinstance(layer, BATCH_NORM | keras.layers.PReLU):
        return False
    return type(layer) in TWINS or any(
        sum(size > 1 for size in weight.shape) > 1 for weight in layer.weights
    )


def _is_like(call: Call, other: Call) -> bool:
    """Returns whether a layer puts out what another one could take."""
    shapes = (
        getattr(each, "shape", ()) for each in (call.outputs, other.inputs)
    )
    ranks = {len(shape) for shape in shapes}
    return len(ranks) == 1


def _outputs(layer: Any) -> int:
    """Returns the length of a layer's bias."""
    axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
    shape = layer.compute_output_shape(layer.get_build_config()["input_shape"])
    return int(shape[axis])
