"""What a conversion would do, layer by layer."""

import io
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any
from typing import get_args

from keras_deconv.transforms._choice import Action
from keras_deconv.transforms._choice import Choice
from keras_deconv.transforms._cost import Cost
from keras_deconv.transforms._options import Options
from keras_deconv.transforms._structure import check_model

_STYLES = {"deconvolve": "green", "leave": "yellow", "keep": "yellow"}


class Plan:
    """What a conversion would do, for each layer that it looks at.

    Args:
        model: A built `keras.Model`.
        options: What is asked for.
        example: As in `deconvolutionize`.
        trusting: As in `Choice`.

    Attributes:
        model: The model, as it is.
        entries: In the order of the model's layers.
    """

    def __init__(
        self,
        model: Any,
        options: Options,
        example: Any,
        trusting: bool,
    ) -> None:
        check_model(model)
        self.model = model
        self._options = options
        self._example = example
        self._trusting = trusting
        self._choice = Choice(model, options, example, trusting)
        self.entries = self._choice.entries()

    @property
    def converts(self) -> bool:
        """Whether anything changes at all."""
        return any(
            entry.action not in ("leave", "keep") or entry.adds_bias
            for entry in self.entries
        )

    def totals(self) -> tuple[Cost, Cost]:
        """Returns the cost of all layers listed, before and after."""
        return (
            sum((entry.before for entry in self.entries), Cost()),
            sum((entry.after for entry in self.entries), Cost()),
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as plain data, ready for JSON."""
        before, after = self.totals()
        return {
            "model": self.model.name,
            "batch_norm": self._options.batch_norm,
            "layers": [
                {
                    **asdict(entry),
                    "address": list(entry.address),
                    "settings": dict(entry.settings),
                }
                for entry in self.entries
            ],
            "before": asdict(before),
            "after": asdict(after),
        }

    def __rich__(self) -> Any:
        from rich.markup import escape
        from rich.table import Table

        before, after = self.totals()
        common = {**self._options.preset, **self._options.settings}
        caption = (
            "MFLOPs: a training step's forward pass, per image, in batches of "
            "128"
        )
        if common:
            caption = f"Settings: {_differences(common, {})}\n{caption}"
        table = Table(
            title=escape(f"{self.model.name}: {self._count()}"),
            caption=caption,
            show_footer=True,
        )
        table.add_column("layer", "total", overflow="fold")
        table.add_column("class")
        table.add_column("what happens")
        for name, left, right in (
            ("parameters", before.parameters, after.parameters),
            ("buffers", before.buffers, after.buffers),
            ("MFLOPs", before.flops / 1e6, after.flops / 1e6),
        ):
            table.add_column(name, _change(left, right), justify="right")
        for entry in self.entries:
            what = [
                entry.action,
                entry.reason and f"({entry.reason})",
                _differences(entry.settings, common),
            ]
            table.add_row(
                escape(entry.path),
                escape(entry.kind),
                escape(" ".join(filter(None, what))),
                _change(entry.before.parameters, entry.after.parameters),
                _change(entry.before.buffers, entry.after.buffers),
                _change(entry.before.flops / 1e6, entry.after.flops / 1e6),
                style=_STYLES.get(entry.action),
            )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        Console(file=text, width=120).print(self)
        return text.getvalue()

    def _count(self) -> str:
        actions = [entry.action for entry in self.entries]
        return (
            ", ".join(
                f"{actions.count(action)} {action}"
                for action in get_args(Action)
                if action in actions
            )
            or "no layer to convert"
        )


def _differences(settings: Mapping[str, Any], common: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={value}"
        for name, value in settings.items()
        if name not in common or value != common[name]
    )


def _change(before: float, after: float) -> str:
    form = "{:,.1f}" if isinstance(before, float) else "{:,}"
    left, right = form.format(before), form.format(after)
    return left if left == right else f"{left} -> {right}"
