import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import compare
import oracle
from keras_deconv.ops import Blocks
from keras_deconv.ops import merge_columns
from keras_deconv.ops import merge_kernel
from keras_deconv.ops import split_columns
from keras_deconv.ops import split_kernel


@st.composite
def any_blocks(draw):
    block_size = draw(st.integers(1, 4))
    groups = draw(st.integers(1, 3))
    count = draw(st.integers(1, 3))
    return Blocks(
        channels=block_size * groups * count,
        taps=draw(st.sampled_from([1, 2, 6, 9])),
        block_size=block_size,
        groups=groups,
        layout=draw(st.sampled_from(["interleaved", "contiguous"])),
    )


def arange(*shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


@given(any_blocks())
def test_merge_undoes_split_of_columns(blocks):
    patches = arange(5, blocks.channels, blocks.taps)
    columns = split_columns(patches, blocks)
    assert columns.shape == (blocks.groups, 5 * blocks.count, blocks.features)
    merged = merge_columns(columns, blocks)
    np.testing.assert_array_equal(ops.convert_to_numpy(merged), patches)


@given(any_blocks())
def test_merge_undoes_split_of_kernel(blocks):
    per_group = blocks.channels // blocks.groups
    kernel = arange(blocks.taps, 1, per_group, 2 * blocks.groups)
    merged = merge_kernel(split_kernel(kernel, blocks), blocks, kernel.shape)
    np.testing.assert_array_equal(ops.convert_to_numpy(merged), kernel)


@given(any_blocks())
def test_blocks_hold_the_features_of_the_definition(blocks):
    patches = arange(3, blocks.channels, blocks.taps)
    columns = ops.convert_to_numpy(split_columns(patches, blocks))
    columns = columns.reshape(blocks.groups, 3, blocks.count, blocks.features)
    grouped = patches.reshape(3, blocks.groups, -1)
    for group in range(blocks.groups):
        parts = oracle.block_of(grouped.shape[-1], blocks.count, blocks.layout)
        for index, part in enumerate(parts):
            np.testing.assert_array_equal(
                columns[group, :, index], grouped[:, group, part]
            )


@given(any_blocks())
def test_columns_meet_their_rows_of_the_kernel(blocks):
    """Summed over blocks, columns @ kernel is patches @ kernel."""
    rng = np.random.default_rng(0)
    per_group = blocks.channels // blocks.groups
    patches = rng.normal(size=(4, blocks.channels, blocks.taps))
    kernel = rng.normal(size=(blocks.taps, per_group, 2 * blocks.groups))
    patches, kernel = patches.astype("float32"), kernel.astype("float32")

    columns = ops.convert_to_numpy(split_columns(patches, blocks))
    rows = ops.convert_to_numpy(split_kernel(kernel, blocks))
    actual = np.einsum(
        "gpbf,gfbo->pgo",
        columns.reshape(blocks.groups, 4, blocks.count, blocks.features),
        rows.reshape(blocks.groups, blocks.features, blocks.count, 2),
    )
    expected = np.einsum(
        "pgct,tcgo->pgo",
        patches.reshape(4, blocks.groups, per_group, blocks.taps),
        kernel.reshape(blocks.taps, per_group, blocks.groups, 2),
    )
    compare.assert_close(actual, expected)
