"""What is asked of a conversion."""

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import TypeAlias
from typing import get_args

from keras_deconv._checks import check_choice
from keras_deconv._checks import check_flag
from keras_deconv.layers import PRESETS
from keras_deconv.transforms._selection import FAST_RULES
from keras_deconv.transforms._selection import Rule
from keras_deconv.transforms._selection import Selector
from keras_deconv.transforms._selection import lasting
from keras_deconv.transforms._steps import TWINS

BatchNorm: TypeAlias = Literal["remove", "fold", "keep"]


@dataclass(frozen=True)
class Options:
    """What is asked of a conversion; see `deconvolutionize`."""

    include: Selector | None
    exclude: Selector | None
    rules: Sequence[Rule] | str
    dense: bool
    batch_norm: BatchNorm
    preserving: bool
    preset: Mapping[str, Any]
    preset_rules: Sequence[Rule]
    settings: Mapping[str, Any]


def check_options(
    *,
    include: Selector | None,
    exclude: Selector | None,
    rules: Iterable[Rule] | str,
    preset: str | None,
    dense: bool,
    batch_norm: BatchNorm | None,
    preserving: bool,
    settings: Mapping[str, Any],
) -> Options:
    """Returns the options, or raises an error that says what is wrong.

    With `preserving`, for there is data to calibrate with, the function of the
    model stays; all else is as in `deconvolutionize`.
    """
    check_flag("dense", dense)
    if preset is not None:
        check_choice("preset", preset, tuple(PRESETS))
    if not isinstance(rules, str):
        rules = _check_rules(rules)
    known = set().union(*(cls.setting_names() for cls in TWINS.values()))
    given: list[Mapping[str, Any]] = [settings]
    if not isinstance(rules, str):
        given += [changes for _, changes in rules if changes is not None]
    if unknown := sorted({name for each in given for name in each} - known):
        raise TypeError(
            f"Settings must be among {sorted(known)}. Received: {unknown}"
        )
    if rules == "paper" and settings.get("method") == "minimax":
        raise ValueError(
            "`rules='paper'` sets `num_iterations`, and `method='minimax'` "
            "stands for five. Received both"
        )
    if batch_norm is None:
        batch_norm = _default_batch_norm(rules, preserving)
    check_choice("batch_norm", batch_norm, get_args(BatchNorm))
    if preserving and batch_norm == "remove":
        raise ValueError(
            "With `calibration_data`, `batch_norm` must be 'fold' or 'keep': "
            "a network that loses its normalization computes something else. "
            "Received: batch_norm='remove'"
        )
    return Options(
        include=lasting(include),
        exclude=lasting(exclude),
        rules=rules,
        dense=dense,
        batch_norm=batch_norm,
        preserving=preserving,
        preset={} if preset is None else PRESETS[preset],
        preset_rules=() if preset == "paper" else FAST_RULES,
        settings=settings,
    )


def _default_batch_norm(rules: Any, preserving: bool) -> BatchNorm:
    if preserving:
        return "fold"
    return "keep" if rules == "stem" else "remove"


def _check_rules(rules: Any) -> tuple[Rule, ...]:
    """Returns rules that may be read more than once."""
    if not isinstance(rules, Iterable):
        raise ValueError(
            "`rules` must be a list of (selector, settings), or a name. "
            f"Received: rules={rules!r}"
        )
    rules = tuple(rules)
    for rule in rules:
        is_pair = isinstance(rule, tuple) and len(rule) == 2
        if not is_pair or not isinstance(rule[1], Mapping | None):
            raise ValueError(
                "A rule must be a pair of a selector and settings, which are "
                f"a dict or None. Received: {rule!r}"
            )
    return tuple((lasting(selector), changes) for selector, changes in rules)
