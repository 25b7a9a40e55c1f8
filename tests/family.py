"""Every layer of the package, in one table."""

import dataclasses

import keras
import numpy as np
from keras import layers
from keras import ops

import authors
import keras_deconv

CONV = ("kernel", "bias")
STATISTICS = ("moving_mean", "moving_deconv")
# A value for every setting of whitening, none of them the default.
SETTINGS = {
    "block_layout": "contiguous",
    "block_size": 2,
    "data_format": "channels_first",
    "differentiate": False,
    "epsilon": 0.5,
    "freeze_after": 9,
    "method": "eigh",
    "momentum": 0.25,
    "num_iterations": 4,
    "sampling_stride": 2,
    "share_blocks": False,
    "synchronized": True,
    "update_every": 2,
    "warmup_steps": 7,
}
SCHEDULE = {
    "differentiate",
    "epsilon",
    "freeze_after",
    "method",
    "momentum",
    "num_iterations",
    "synchronized",
    "update_every",
    "warmup_steps",
}
BLOCKS = {"block_size", "share_blocks"}
LAYOUT = BLOCKS | {"block_layout"}
SAMPLING = {"sampling_stride"}


@dataclasses.dataclass(frozen=True)
class Member:
    """A layer class, and what is expected of it.

    Calling a member makes a layer, with the authors' settings where no
    others are given: statistics on every step, and of whole blocks.

    Attributes:
        cls: The class.
        plain: The Keras class that it stands in for; what it folds to, if it
            stands in for none.
        shape: Of inputs: four samples of every one.
        arguments: The least that the class takes, by position.
        more: More arguments by position, none the default.
        keywords: More that it is to be made with.
        trainable: Names of the trainable weights.
        statistics: Names of the others.
        settings: Names of the settings it has.
        kernels: Names of its initializers of kernels.
    """

    cls: type
    plain: type
    shape: tuple
    arguments: tuple = ()
    more: tuple = ()
    keywords: dict = dataclasses.field(default_factory=dict)
    trainable: tuple = CONV
    statistics: tuple = STATISTICS
    settings: set = dataclasses.field(
        default_factory=lambda: SCHEDULE | LAYOUT | SAMPLING
    )
    kernels: tuple = ("kernel_initializer",)

    def __call__(self, **settings):
        return self.make(*self.arguments, **self.keywords | settings)

    @property
    def make(self):
        """Makes a layer with the authors' settings."""
        return getattr(authors, self.cls.__name__)

    @property
    def is_drop_in(self):
        """Whether the layer takes the arguments of its plain class."""
        return bool(self.more)

    @property
    def unknown_shape(self):
        """The shape of inputs with channels alone known."""
        return (*[None] * (len(self.shape) - 1), self.shape[-1])

    def larger(self, extra):
        """The shape with so much added to each axis between the ends."""
        first, *spatial, last = self.shape
        return (first, *(size + extra for size in spatial), last)


MEMBERS = {
    "conv1d": Member(
        keras_deconv.DeconvConv1D,
        layers.Conv1D,
        (4, 9, 4),
        (4, 3),
        (4, 3, 2, "causal"),
    ),
    "conv2d": Member(
        keras_deconv.DeconvConv2D,
        layers.Conv2D,
        (4, 8, 8, 4),
        (4, 3),
        (4, 3, 2, "same"),
    ),
    "conv3d": Member(
        keras_deconv.DeconvConv3D,
        layers.Conv3D,
        (4, 5, 6, 5, 4),
        (4, 2),
        (4, 2, 2, "same"),
    ),
    "depthwise1d": Member(
        keras_deconv.DeconvDepthwiseConv1D,
        layers.DepthwiseConv1D,
        (4, 9, 4),
        (3,),
        (3, 2, "same", 2),
        settings=SCHEDULE | SAMPLING,
        kernels=("depthwise_initializer",),
    ),
    "depthwise2d": Member(
        keras_deconv.DeconvDepthwiseConv2D,
        layers.DepthwiseConv2D,
        (4, 8, 8, 4),
        (3,),
        (3, 2, "same", 2),
        settings=SCHEDULE | SAMPLING,
        kernels=("depthwise_initializer",),
    ),
    "separable1d": Member(
        keras_deconv.DeconvSeparableConv1D,
        layers.SeparableConv1D,
        (4, 9, 4),
        (4, 3),
        (4, 3, 2, "same", None, 1, 2),
        trainable=("depthwise_kernel", "pointwise_kernel", "bias"),
        statistics=(*STATISTICS, *(f"pointwise_{w}" for w in STATISTICS)),
        kernels=("depthwise_initializer", "pointwise_initializer"),
    ),
    "separable2d": Member(
        keras_deconv.DeconvSeparableConv2D,
        layers.SeparableConv2D,
        (4, 8, 8, 4),
        (4, 3),
        (4, 3, 2, "same", None, (1, 1), 2),
        trainable=("depthwise_kernel", "pointwise_kernel", "bias"),
        statistics=(*STATISTICS, *(f"pointwise_{w}" for w in STATISTICS)),
        kernels=("depthwise_initializer", "pointwise_initializer"),
    ),
    "conv1d_transpose": Member(
        keras_deconv.DeconvConv1DTranspose,
        layers.Conv1DTranspose,
        (4, 6, 4),
        (4, 3),
        (4, 2, 2, "same"),
    ),
    "conv2d_transpose": Member(
        keras_deconv.DeconvConv2DTranspose,
        layers.Conv2DTranspose,
        (4, 5, 6, 4),
        (4, 3),
        (4, 2, 2, "same"),
    ),
    "conv3d_transpose": Member(
        keras_deconv.DeconvConv3DTranspose,
        layers.Conv3DTranspose,
        (4, 3, 4, 3, 4),
        (4, 2),
        (4, 2, 2, "same"),
    ),
    "dense": Member(
        keras_deconv.DeconvDense,
        layers.Dense,
        (4, 8, 4),
        (4,),
        (4, "relu"),
        settings=SCHEDULE | BLOCKS,
    ),
    "channel": Member(
        # Three channels in a block, and two that remain.
        keras_deconv.ChannelDeconv,
        layers.Conv2D,
        (4, 8, 8, 5),
        keywords={"block_size": 3},
        trainable=(),
        settings=SCHEDULE | LAYOUT | SAMPLING | {"data_format"},
        statistics=(*STATISTICS, *(f"rest_{w}" for w in STATISTICS)),
        kernels=(),
    ),
}


def values(weights):
    """Returns the values of variables, as arrays."""
    return [ops.convert_to_numpy(weight) for weight in weights]


def make_model():
    """Returns a model in which every layer is a branch.

    Its inputs and outputs have the names of `MEMBERS`.
    """
    inputs, outputs = {}, {}
    for name, member in MEMBERS.items():
        inputs[name] = keras.Input(member.shape[1:], name=name)
        outputs[name] = member(name=f"{name}_layer")(inputs[name])
    return keras.Model(inputs, outputs, name="family")


def make_inputs(shape, seed=0):
    """Returns inputs that are correlated, and not centred."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=shape)
    noise = noise + 0.5 * np.roll(noise, 1, axis=1)
    mixing = np.eye(shape[-1]) + 0.4 * rng.normal(size=(shape[-1],) * 2)
    return (noise @ mixing + 0.5).astype("float32")
