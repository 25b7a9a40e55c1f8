"""Network deconvolution in float64 NumPy, written for clarity alone.

Shares no code and no trick with the package: patches are cut out one by
one, features are dealt into blocks by the index formula, Newton-Schulz
takes all its products, and inputs are whitened before they are multiplied
with the kernel instead of the whitening being folded into it.
"""

import itertools

import numpy as np


def inverse_sqrt(matrix, num_iterations):
    """Coupled Newton-Schulz of one matrix, as algorithm 1 of the paper."""
    identity = np.eye(len(matrix))
    norm = np.linalg.norm(matrix)
    y, z = matrix / norm, identity
    for _ in range(num_iterations):
        t = (3 * identity - z @ y) / 2
        y, z = y @ t, t @ z
    return z / np.sqrt(norm)


def minimax_inverse_sqrt(matrix):
    """Two steps of a quintic each, on the damped matrix."""
    identity = np.eye(len(matrix))
    norm = np.linalg.norm(matrix)
    p, z = (matrix / norm + 0.015 * identity) / 1.015, identity
    for a, b, c in (5.6037, -13.8837, 9.7334), (2.1306, -1.5116, 0.40198):
        w = a * identity + b * p + c * p @ p
        p, z = w @ w @ p, w @ z
    return z / np.sqrt(1.015 * norm)


def exact_inverse_sqrt(matrix):
    """By eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**-0.5) @ vectors.T


def pad_same(inputs, kernel_size, strides, dilation_rate):
    """Zeros around `(n, *spatial, C)` for `ceil(size / stride)` outputs."""
    widths = [(0, 0)]
    for size, kernel, stride, dilation in zip(
        inputs.shape[1:-1], kernel_size, strides, dilation_rate, strict=True
    ):
        outputs = -(-size // stride)
        needed = (outputs - 1) * stride + (kernel - 1) * dilation + 1
        total = max(needed - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(inputs, [*widths, (0, 0)])


def patches(inputs, kernel_size, strides, dilation_rate):
    """Returns `(n, *positions, C * taps)`, channels first, no padding."""
    spatial = inputs.shape[1:-1]
    counts = [
        (size - (kernel - 1) * dilation - 1) // stride + 1
        for size, kernel, stride, dilation in zip(
            spatial, kernel_size, strides, dilation_rate, strict=True
        )
    ]
    taps = list(itertools.product(*map(range, kernel_size)))
    out = np.zeros((len(inputs), *counts, inputs.shape[-1], len(taps)))
    for position in itertools.product(*map(range, counts)):
        for index, tap in enumerate(taps):
            at = tuple(
                p * s + t * d
                for p, s, t, d in zip(
                    position, strides, tap, dilation_rate, strict=True
                )
            )
            out[(slice(None), *position, slice(None), index)] = inputs[
                (slice(None), *at)
            ]
    return out.reshape(*out.shape[:-2], -1)


def block_of(features, num_blocks, layout):
    """Returns, for each block, the features in it, in order."""
    index = np.arange(features)
    if layout == "interleaved":
        return [index[index % num_blocks == b] for b in range(num_blocks)]
    return np.split(index, num_blocks)


def statistics(
    columns, num_blocks, layout, num_iterations, epsilon, share_blocks=True
):
    """Returns a mean and a D for each block of columns `(rows, features)`.

    They are `(num_blocks, F)` and `(num_blocks, F, F)`. Blocks that share
    theirs pool their rows.
    """
    parts = block_of(columns.shape[1], num_blocks, layout)
    samples = [columns[:, part] for part in parts]
    if share_blocks:
        samples = [np.concatenate(samples)] * num_blocks
    means, deconvs = [], []
    for rows in samples:
        mean = rows.mean(0)
        covariance = np.mean(
            [np.outer(row, row) for row in rows - mean], axis=0
        )
        covariance += epsilon * np.eye(len(mean))
        means.append(mean)
        deconvs.append(inverse_sqrt(covariance, num_iterations))
    return np.stack(means), np.stack(deconvs)


def whiten(columns, num_blocks, layout, means, deconvs):
    """Returns `(x - mean) D` in the place of each block's features."""
    whitened = np.empty_like(columns)
    parts = block_of(columns.shape[1], num_blocks, layout)
    for part, mean, deconv in zip(parts, means, deconvs, strict=True):
        whitened[:, part] = (columns[:, part] - mean) @ deconv
    return whitened


def stored(values, share_blocks):
    """Returns what a layer keeps: one mean and D where all are the same."""
    return [value[:1] if share_blocks else value for value in values]


def of_each_block(values, num_blocks, share_blocks):
    """Undoes `stored`."""
    if not share_blocks:
        return values
    return [np.repeat(value, num_blocks, axis=0) for value in values]


def deconv_conv(
    inputs,
    kernel,
    bias,
    *,
    block_size,
    strides,
    dilation_rate,
    padding="valid",
    groups=1,
    sampling_stride=3,
    num_iterations=5,
    epsilon=1e-5,
    layout="interleaved",
    share_blocks=True,
    given=None,
):
    """Returns outputs, means `(matrices, F)` and D `(matrices, F, F)`.

    Of a convolution of any rank, channels last. `given` holds means and D
    to use in place of those of the batch.
    """
    inputs = np.asarray(inputs, "float64")
    kernel = np.asarray(kernel, "float64")
    kernel_size = kernel.shape[: inputs.ndim - 2]
    if padding == "same":
        inputs = pad_same(inputs, kernel_size, strides, dilation_rate)
    elif padding == "causal":
        reach = (kernel_size[0] - 1) * dilation_rate[0]
        inputs = np.pad(inputs, [(0, 0), (reach, 0), (0, 0)])
    per_group = inputs.shape[-1] // groups
    filters = kernel.shape[-1] // groups
    num_blocks = per_group // block_size
    matrices = 1 if share_blocks else num_blocks
    outputs, means, deconvs = [], [], []
    for group in range(groups):
        x = inputs[..., group * per_group : (group + 1) * per_group]
        w = kernel[..., group * filters : (group + 1) * filters]
        w = np.moveaxis(w, -2, 0).reshape(-1, filters)
        every = patches(x, kernel_size, strides, dilation_rate)
        if given is None:
            sampled = every[
                (slice(None),)
                + (slice(None, None, sampling_stride),) * len(kernel_size)
            ]
            values = statistics(
                sampled.reshape(-1, len(w)),
                num_blocks,
                layout,
                num_iterations,
                epsilon,
                share_blocks,
            )
        else:
            own = slice(group * matrices, (group + 1) * matrices)
            values = of_each_block(
                [value[own] for value in given], num_blocks, share_blocks
            )
        columns = every.reshape(-1, len(w))
        y = whiten(columns, num_blocks, layout, *values) @ w
        outputs.append(y.reshape(*every.shape[:-1], filters))
        mean, deconv = stored(values, share_blocks)
        means.append(mean)
        deconvs.append(deconv)
    outputs = np.concatenate(outputs, axis=-1)
    if bias is not None:
        outputs = outputs + bias
    return outputs, np.concatenate(means), np.concatenate(deconvs)


def deconv_depthwise(inputs, kernel, bias, **settings):
    """Returns outputs, means `(C, taps)` and D `(C, taps, taps)`.

    Of a depthwise convolution of any rank, with a kernel
    `(*kernel_size, C, multiplier)`: as many convolutions of one channel.
    """
    results = []
    given = settings.pop("given", None)
    for channel in range(inputs.shape[-1]):
        own = slice(channel, channel + 1)
        results.append(
            deconv_conv(
                inputs[..., own],
                kernel[..., own, :],
                None,
                block_size=1,
                given=given and [value[own] for value in given],
                **settings,
            )
        )
    outputs, means, deconvs = zip(*results, strict=True)
    outputs = np.concatenate(outputs, axis=-1)
    if bias is not None:
        outputs = outputs + bias
    return outputs, np.concatenate(means), np.concatenate(deconvs)


def deconv_separable(
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    bias,
    *,
    block_size,
    strides,
    dilation_rate,
    padding="valid",
    layout="interleaved",
    share_blocks=True,
    given=None,
    **settings,
):
    """Returns outputs, and means and D of either half, one after the other.

    Of a depthwise convolution without bias, then a pointwise one. Either
    half takes its statistics from every S-th position of its own.
    """
    ones = (1,) * len(strides)
    hidden, *first = deconv_depthwise(
        inputs,
        depthwise_kernel,
        None,
        strides=strides,
        dilation_rate=dilation_rate,
        padding=padding,
        given=given and given[:2],
        **settings,
    )
    outputs, *second = deconv_conv(
        hidden,
        pointwise_kernel,
        bias,
        block_size=block_size,
        strides=ones,
        dilation_rate=ones,
        layout=layout,
        share_blocks=share_blocks,
        given=given and given[2:],
        **settings,
    )
    return outputs, *first, *second


def deconv_channel(
    inputs,
    *,
    block_size,
    sampling_stride=3,
    num_iterations=5,
    epsilon=1e-2,
    layout="interleaved",
    share_blocks=True,
    given=None,
):
    """Returns outputs, mean and D, and if channels remain, theirs.

    Channels are whitened; those that remain when blocks of `block_size` have
    been taken are divided by their standard deviation, of all together
    unless blocks are not shared.
    """
    inputs = np.asarray(inputs, "float64")
    channels = inputs.shape[-1]
    block_size = min(block_size, channels)
    num_blocks, remaining = divmod(channels, block_size)
    columns = inputs.reshape(-1, channels)
    sampled = inputs[
        (slice(None),)
        + (slice(None, None, sampling_stride),) * (inputs.ndim - 2)
    ].reshape(-1, channels)
    whole = channels - remaining
    state = []
    if given is None:
        values = statistics(
            sampled[:, :whole],
            num_blocks,
            layout,
            num_iterations,
            epsilon,
            share_blocks,
        )
    else:
        values = of_each_block(given[:2], num_blocks, share_blocks)
    outputs = [whiten(columns[:, :whole], num_blocks, layout, *values)]
    state += stored(values, share_blocks)
    if remaining:
        rest = sampled[:, whole:]
        axis = None if share_blocks else 0
        mean = np.atleast_1d(rest.mean(axis))
        scale = 1 / np.sqrt(np.atleast_1d(rest.var(axis)) + epsilon)
        if given is not None:
            mean, scale = (value.ravel() for value in given[2:])
        outputs.append((columns[:, whole:] - mean) * scale)
        state += [mean[:, None], scale[:, None, None]]
    return np.concatenate(outputs, axis=1).reshape(inputs.shape), *state


def conv_transpose(inputs, kernel, strides, padding):
    """Transposed convolution of `(n, *spatial, C)`, as Keras defines it.

    Each position adds its product with the kernel `(*kernel_size, O, C)`
    to the outputs that start at its index times the stride. There are as
    many outputs as inputs times the stride, and with `"valid"` what sticks
    out of these too; with `"same"` that is cut off, half on either side.
    """
    spatial, size = inputs.shape[1:-1], kernel.shape[:-2]
    over = [max(k - s, 0) for k, s in zip(size, strides, strict=True)]
    room = [n * s + o for n, s, o in zip(spatial, strides, over, strict=True)]
    outputs = np.zeros((len(inputs), *room, kernel.shape[-2]))
    for position in itertools.product(*map(range, spatial)):
        for tap in itertools.product(*map(range, size)):
            at = np.multiply(position, strides) + tap
            outputs[:, *at] += inputs[:, *position] @ kernel[tap].T
    if padding == "same":
        for axis, extra in enumerate(over, 1):
            keep = np.arange(extra // 2, room[axis - 1] - extra + extra // 2)
            outputs = outputs.take(keep, axis)
    return outputs


def deconv_conv_transpose(
    inputs, kernel, bias, *, strides, padding="valid", **settings
):
    """Returns outputs, means and D of a transposed convolution.

    The channels of the inputs are whitened, then convolved.
    """
    channels = inputs.shape[-1]
    ones = (1,) * (inputs.ndim - 2)
    whitened, means, deconvs = deconv_conv(
        inputs,
        np.eye(channels).reshape((*ones, channels, channels)),
        None,
        strides=ones,
        dilation_rate=ones,
        **settings,
    )
    outputs = conv_transpose(whitened, kernel, strides, padding)
    if bias is not None:
        outputs = outputs + bias
    return outputs, means, deconvs


def deconv_dense(
    inputs,
    kernel,
    bias,
    *,
    block_size,
    num_iterations=5,
    epsilon=1e-5,
    share_blocks=True,
    given=None,
):
    """Returns outputs, means and D of a dense layer."""
    columns = np.asarray(inputs, "float64").reshape(-1, inputs.shape[-1])
    num_blocks = columns.shape[1] // block_size
    if given is None:
        values = statistics(
            columns,
            num_blocks,
            "contiguous",
            num_iterations,
            epsilon,
            share_blocks,
        )
    else:
        values = of_each_block(given, num_blocks, share_blocks)
    outputs = whiten(columns, num_blocks, "contiguous", *values) @ kernel
    if bias is not None:
        outputs = outputs + bias
    return (
        outputs.reshape(*inputs.shape[:-1], -1),
        *stored(values, share_blocks),
    )
