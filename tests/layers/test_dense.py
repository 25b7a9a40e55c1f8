import keras
import numpy as np
import pytest
from keras import ops

import against_oracle
import compare
import oracle
from authors import DeconvDense


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize(
    "shape", [(40, 6), (5, 8, 6), (4, 3, 5, 6)], ids=["2d", "3d", "4d"]
)
@pytest.mark.parametrize(("block_size", "fitting"), [(64, 6), (2, 2), (4, 2)])
def test_oracle(block_size, fitting, shape, use_bias, rng):
    mixing = rng.normal(size=(6, 6))
    inputs = (rng.normal(size=shape) @ mixing + 1).astype("float32")
    layer = DeconvDense(
        5,
        block_size=block_size,
        use_bias=use_bias,
        bias_initializer="random_normal",
    )
    outputs = layer(inputs, training=True)
    wanted, mean, deconv = oracle.deconv_dense(
        inputs,
        ops.convert_to_numpy(layer.kernel),
        ops.convert_to_numpy(layer.bias) if use_bias else None,
        block_size=fitting,
    )
    compare.assert_close(outputs, wanted, 2e-5)
    compare.assert_close(layer.moving_mean, 0.1 * mean)
    compare.assert_close(
        layer.moving_deconv, 0.9 * np.eye(fitting)[None] + 0.1 * deconv
    )
    plain = layer.fold()
    assert type(plain) is keras.layers.Dense
    compare.assert_close(plain(inputs), ops.convert_to_numpy(layer(inputs)))


@pytest.mark.parametrize("share_blocks", [True, False])
def test_shared_and_own_blocks(share_blocks, rng):
    mixing = rng.normal(size=(6, 6))
    inputs = (rng.normal(size=(40, 6)) @ mixing + 1).astype("float32")
    layer = DeconvDense(
        5,
        block_size=2,
        share_blocks=share_blocks,
        bias_initializer="random_normal",
        momentum=against_oracle.MOMENTUM,
    )
    layer.build(inputs.shape)
    assert layer.moving_mean.shape == (1 if share_blocks else 3, 2)

    def expected(given):
        return oracle.deconv_dense(
            inputs,
            *against_oracle.parameters_of(layer, "kernel", "bias"),
            block_size=2,
            share_blocks=share_blocks,
            given=given,
        )

    against_oracle.check(layer, inputs, expected, keras.layers.Dense)


def test_mask_passes_through():
    assert DeconvDense(3).supports_masking


def test_builds_from_the_features_alone():
    layer = DeconvDense(3)
    layer.build((5,))
    assert layer(np.ones((2, 5), "float32")).shape == (2, 3)
