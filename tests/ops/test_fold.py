import importlib

import numpy as np
import pytest
from keras import ops

import compare
import oracle
from keras_deconv.ops import Blocks
from keras_deconv.ops import fold

CASES = {
    "one_block": Blocks(4, 9, block_size=4),
    "interleaved": Blocks(6, 9, block_size=2),
    "contiguous": Blocks(6, 9, block_size=2, layout="contiguous"),
    "own_blocks": Blocks(6, 9, block_size=2, layout="contiguous", shared=False),
    "own_blocks_of_groups": Blocks(
        8, 9, block_size=2, groups=2, layout="contiguous", shared=False
    ),
    "groups": Blocks(6, 9, block_size=2, groups=3),
    "groups_of_blocks": Blocks(8, 9, block_size=2, groups=2),
    "depthwise": Blocks(3, 9, block_size=1, groups=3),
}


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("blocks", CASES.values(), ids=CASES.keys())
def test_folding_is_whitening_then_convolution(
    blocks, use_bias, in_order, rng, monkeypatch
):
    # Each backend takes one of the two ways.
    module = importlib.import_module("keras_deconv.ops._fold")
    monkeypatch.setattr(module, "gradients_are_in_order", lambda: in_order)
    per_group = blocks.channels // blocks.groups
    inputs = rng.normal(size=(2, 5, 6, blocks.channels)) + 1
    kernel = rng.normal(size=(3, 3, per_group, 2 * blocks.groups))
    bias = rng.normal(size=2 * blocks.groups) if use_bias else None
    mean = rng.normal(size=(blocks.matrices, blocks.features))
    deconv = rng.normal(size=(blocks.matrices, *[blocks.features] * 2))
    deconv = deconv + np.swapaxes(deconv, 1, 2)
    expected, _, _ = oracle.deconv_conv(
        inputs,
        kernel,
        bias,
        block_size=blocks.block_size,
        strides=(1, 1),
        dilation_rate=(1, 1),
        groups=blocks.groups,
        layout=blocks.layout,
        share_blocks=blocks.shared,
        given=(mean, deconv),
    )

    def single(array):
        return None if array is None else array.astype("float32")

    folded, shifted = fold(*map(single, (kernel, bias, mean, deconv)), blocks)
    assert folded.shape == kernel.shape
    if blocks.groups == 1:
        actual = ops.conv(single(inputs), folded) + shifted
    else:
        actual = ops.concatenate(
            [
                ops.conv(x, w)
                for x, w in zip(
                    ops.split(single(inputs), blocks.groups, axis=-1),
                    ops.split(folded, blocks.groups, axis=-1),
                    strict=True,
                )
            ],
            axis=-1,
        )
        actual = actual + shifted
    compare.assert_close(actual, expected)
