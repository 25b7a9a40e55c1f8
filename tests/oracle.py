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


def statistics(columns, num_blocks, layout, num_iterations, epsilon):
    """Returns pooled mean, covariance and D of columns `(rows, features)`."""
    parts = block_of(columns.shape[1], num_blocks, layout)
    pooled = np.concatenate([columns[:, part] for part in parts])
    mean = pooled.mean(0)
    covariance = np.mean([np.outer(row, row) for row in pooled - mean], axis=0)
    covariance += epsilon * np.eye(len(mean))
    return mean, inverse_sqrt(covariance, num_iterations)


def whiten(columns, num_blocks, layout, mean, deconv):
    """Returns `(x - mean) D` in the place of each block's features."""
    whitened = np.empty_like(columns)
    for part in block_of(columns.shape[1], num_blocks, layout):
        whitened[:, part] = (columns[:, part] - mean) @ deconv
    return whitened


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
    given=None,
):
    """Returns outputs, means `(groups, F)` and D `(groups, F, F)`.

    Of a convolution of any rank, channels last. `given` holds means and D
    to use in place of those of the batch.
    """
    inputs = np.asarray(inputs, "float64")
    kernel = np.asarray(kernel, "float64")
    kernel_size = kernel.shape[: inputs.ndim - 2]
    if padding == "same":
        inputs = pad_same(inputs, kernel_size, strides, dilation_rate)
    per_group = inputs.shape[-1] // groups
    filters = kernel.shape[-1] // groups
    outputs, means, deconvs = [], [], []
    for group in range(groups):
        x = inputs[..., group * per_group : (group + 1) * per_group]
        w = kernel[..., group * filters : (group + 1) * filters]
        w = np.moveaxis(w, -2, 0).reshape(-1, filters)
        every = patches(x, kernel_size, strides, dilation_rate)
        num_blocks = per_group // block_size
        if given is None:
            sampled = every[
                (slice(None),)
                + (slice(None, None, sampling_stride),) * len(kernel_size)
            ]
            mean, deconv = statistics(
                sampled.reshape(-1, len(w)),
                num_blocks,
                layout,
                num_iterations,
                epsilon,
            )
        else:
            mean, deconv = given[0][group], given[1][group]
        columns = every.reshape(-1, len(w))
        y = whiten(columns, num_blocks, layout, mean, deconv) @ w
        outputs.append(y.reshape(*every.shape[:-1], filters))
        means.append(mean)
        deconvs.append(deconv)
    outputs = np.concatenate(outputs, axis=-1)
    if bias is not None:
        outputs = outputs + bias
    return outputs, np.stack(means), np.stack(deconvs)


def deconv_dense(
    inputs, kernel, bias, *, block_size, num_iterations=5, epsilon=1e-5
):
    """Returns outputs, mean `(1, F)` and D `(1, F, F)` of a dense layer."""
    columns = np.asarray(inputs, "float64").reshape(-1, inputs.shape[-1])
    num_blocks = columns.shape[1] // block_size
    mean, deconv = statistics(
        columns, num_blocks, "contiguous", num_iterations, epsilon
    )
    outputs = whiten(columns, num_blocks, "contiguous", mean, deconv) @ kernel
    if bias is not None:
        outputs = outputs + bias
    return (
        outputs.reshape(*inputs.shape[:-1], -1),
        mean[None],
        deconv[None],
    )
