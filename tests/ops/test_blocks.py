import numpy as np
import pytest
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
from keras_deconv.ops import variance_of_blocks


@st.composite
def any_blocks(draw):
    block_size = draw(st.integers(1, 4))
    groups = draw(st.integers(1, 3))
    count = draw(st.integers(1, 3))
    layout = draw(st.sampled_from(["interleaved", "contiguous"]))
    return Blocks(
        channels=block_size * groups * count,
        taps=draw(st.sampled_from([1, 2, 6, 9])),
        block_size=block_size,
        groups=groups,
        layout=layout,
        shared=layout == "interleaved" or draw(st.booleans()),
    )


def arange(*shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


def by_block(columns, blocks):
    """Returns columns as `(groups, count, p, F)`, whatever shares a D."""
    columns = ops.convert_to_numpy(columns)
    if blocks.shared:
        shape = (blocks.groups, -1, blocks.count, blocks.features)
        return columns.reshape(shape).swapaxes(1, 2)
    return columns.reshape(blocks.groups, blocks.count, -1, blocks.features)


@given(any_blocks())
def test_merge_undoes_split_of_columns(blocks):
    patches = arange(5, blocks.channels, blocks.taps)
    columns = split_columns(patches, blocks)
    if blocks.shared:
        assert blocks.matrices == blocks.groups
    else:
        assert blocks.matrices == blocks.groups * blocks.count
    rows = 5 * blocks.groups * blocks.count // blocks.matrices
    assert columns.shape == (blocks.matrices, rows, blocks.features)
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
    columns = by_block(split_columns(patches, blocks), blocks)
    grouped = patches.reshape(3, blocks.groups, -1)
    for group in range(blocks.groups):
        parts = oracle.block_of(grouped.shape[-1], blocks.count, blocks.layout)
        for index, part in enumerate(parts):
            np.testing.assert_array_equal(
                columns[group, index], grouped[:, group, part]
            )


@given(any_blocks())
def test_columns_meet_their_rows_of_the_kernel(blocks):
    """Summed over blocks, columns @ kernel is patches @ kernel."""
    rng = np.random.default_rng(0)
    per_group = blocks.channels // blocks.groups
    patches = rng.normal(size=(4, blocks.channels, blocks.taps))
    kernel = rng.normal(size=(blocks.taps, per_group, 2 * blocks.groups))
    patches, kernel = patches.astype("float32"), kernel.astype("float32")

    columns = by_block(split_columns(patches, blocks), blocks)
    rows = ops.convert_to_numpy(split_kernel(kernel, blocks))
    if blocks.shared:
        shape = (blocks.groups, blocks.features, blocks.count, 2)
        rows = rows.reshape(shape).swapaxes(1, 2)
    else:
        shape = (blocks.groups, blocks.count, blocks.features, 2)
        rows = rows.reshape(shape)
    actual = np.einsum("gbpf,gbfo->pgo", columns, rows)
    expected = np.einsum(
        "pgct,tcgo->pgo",
        patches.reshape(4, blocks.groups, per_group, blocks.taps),
        kernel.reshape(blocks.taps, per_group, blocks.groups, 2),
    )
    compare.assert_close(actual, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channels": 0}, "`channels`.*Received: channels=0"),
        ({"taps": 1.5}, r"`taps`.*1\.5"),
        ({"groups": 3}, "must divide `channels`.*groups=3.*channels=8"),
        ({"block_size": 3}, "must divide `channels`.*block_size=3"),
        ({"layout": "strided"}, "`layout` must be.*'strided'"),
    ],
)
def test_blocks_that_cannot_be(change, message):
    settings = {"channels": 8, "taps": 9, "block_size": 4}
    with pytest.raises(ValueError, match=message):
        Blocks(**settings | change)


def test_interleaved_blocks_share_one_d():
    with pytest.raises(ValueError, match="must be contiguous"):
        Blocks(4, 1, 2, layout="interleaved", shared=False)


@pytest.mark.parametrize("layout", ["interleaved", "contiguous"])
def test_variance_of_blocks_is_that_of_their_columns(layout, rng):
    blocks = Blocks(12, 3, 4, layout=layout)
    patch = rng.normal(5, 2, size=(12, 3)).astype("float32")
    columns = ops.convert_to_numpy(split_columns(patch, blocks))
    expected = columns.var(axis=1).mean(axis=1)
    compare.assert_close(variance_of_blocks(patch, blocks), expected)
