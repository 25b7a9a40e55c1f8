import keras
import pytest

import against_oracle
import oracle
from authors import DeconvSeparableConv1D
from authors import DeconvSeparableConv2D

# Arguments of the layer beyond 5 filters, and the shape of its inputs.
CASES = {
    "1d_same": (
        {"kernel_size": 3, "padding": "same", "depth_multiplier": 2},
        (6, 12, 3),
    ),
    "2d": ({"kernel_size": 3, "block_size": 2}, (4, 9, 8, 4)),
    "2d_strided": (
        {
            "kernel_size": 2,
            "strides": 2,
            "padding": "same",
            "sampling_stride": 1,
            "use_bias": False,
        },
        (4, 7, 8, 3),
    ),
    "2d_own_blocks": (
        {
            "kernel_size": (1, 3),
            "depth_multiplier": 2,
            "sampling_stride": 2,
            "block_size": 3,
            "block_layout": "contiguous",
            "share_blocks": False,
        },
        (4, 6, 8, 3),
    ),
}
LAYERS = {3: DeconvSeparableConv1D, 4: DeconvSeparableConv2D}
PLAIN = {3: keras.layers.SeparableConv1D, 4: keras.layers.SeparableConv2D}


@pytest.mark.parametrize(
    ("arguments", "shape"), CASES.values(), ids=CASES.keys()
)
def test_training_inference_and_fold_equal_the_oracle(
    arguments, shape, correlated
):
    inputs = correlated(*shape)
    layer = LAYERS[len(shape)](
        5,
        **arguments,
        bias_initializer="random_normal",
        momentum=against_oracle.MOMENTUM,
    )
    layer.build(shape)

    def expected(given):
        return oracle.deconv_separable(
            inputs,
            *against_oracle.parameters_of(
                layer, "depthwise_kernel", "pointwise_kernel", "bias"
            ),
            block_size=layer.pointwise_moving_mean.shape[-1],
            layout=layer.block_layout,
            given=given,
            **against_oracle.settings_of(
                layer,
                "strides",
                "dilation_rate",
                "padding",
                "sampling_stride",
                "num_iterations",
                "epsilon",
                "share_blocks",
            ),
        )

    against_oracle.check(layer, inputs, expected, PLAIN[len(shape)])
