"""Metrics of segmentation that leave out pixels without a class."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_deconv_examples")
class PixelAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The share of pixels whose largest logit is that of their class.

    Args:
        ignore_class: What pixels are labelled that do not count.
        name: Of the metric.
        dtype: Of its sums.
    """

    def __init__(self, ignore_class=255, name="accuracy", dtype=None):
        super().__init__(name, dtype)
        self.ignore_class = ignore_class

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts the pixels (n, H, W) of logits (n, H, W, classes)."""
        del sample_weight
        counts = ops.cast(ops.not_equal(y_true, self.ignore_class), self.dtype)
        return super().update_state(y_true, y_pred, counts)

    def get_config(self):
        """Returns the arguments."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "ignore_class": self.ignore_class,
        }
