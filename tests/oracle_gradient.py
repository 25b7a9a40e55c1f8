"""Reverse-mode gradients of the oracle, in float64 NumPy."""

import itertools

import numpy as np

import oracle


def inverse_sqrt(matrix, num_iterations, upstream):
    """Returns the gradient of `sum(inverse_sqrt(matrix) * upstream)`."""
    identity = np.eye(len(matrix))
    norm = np.linalg.norm(matrix)
    y, z, tape = matrix / norm, identity, []
    for _ in range(num_iterations):
        t = (3 * identity - z @ y) / 2
        tape.append((y, z, t))
        y, z = y @ t, t @ z
    grad_norm = -0.5 * (upstream * z).sum() * norm**-1.5
    grad_z, grad_y = upstream / np.sqrt(norm), np.zeros_like(matrix)
    for y, z, t in reversed(tape):
        grad_t = grad_z @ z.T + y.T @ grad_y
        grad_z, grad_y = (
            t.T @ grad_z - grad_t @ y.T / 2,
            grad_y @ t.T - z.T @ grad_t / 2,
        )
    grad_norm -= (grad_y * matrix).sum() / norm**2
    return grad_y / norm + grad_norm * matrix / norm


def conv_inputs(inputs, kernel, upstream, num_iterations, epsilon):
    """Returns the gradient of the inputs of a deconvolution.

    Of `sum(outputs * upstream)`, for one block, stride 1, no padding, and
    statistics from every position.
    """
    inputs, kernel, upstream = (
        array.astype("float64") for array in (inputs, kernel, upstream)
    )
    kernel_size, ones = kernel.shape[:2], (1, 1)
    every = oracle.patches(inputs, kernel_size, ones, ones)
    columns = every.reshape(-1, every.shape[-1])
    w = np.moveaxis(kernel, -2, 0).reshape(columns.shape[1], -1)
    upstream = upstream.reshape(len(columns), -1)

    centred = columns - columns.mean(0)
    covariance = centred.T @ centred / len(columns)
    covariance += epsilon * np.eye(len(covariance))
    deconv = oracle.inverse_sqrt(covariance, num_iterations)

    grad_whitened = upstream @ w.T
    grad_covariance = inverse_sqrt(
        covariance, num_iterations, centred.T @ grad_whitened
    )
    grad = grad_whitened @ deconv.T
    grad += centred @ (grad_covariance + grad_covariance.T) / len(columns)
    grad -= grad.mean(0)

    grad = grad.reshape(*every.shape[:-1], inputs.shape[-1], -1)
    grad_inputs = np.zeros_like(inputs)
    height, width = every.shape[1:3]
    taps = itertools.product(*map(range, kernel_size))
    for index, (row, column) in enumerate(taps):
        grad_inputs[:, row : row + height, column : column + width] += grad[
            ..., index
        ]
    return grad_inputs
