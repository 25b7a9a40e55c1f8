"""Models of three libraries, built without a download.

Small images, and where a library takes the sizes of stages, fewer and
narrower ones; every kind of block is there.
"""

from collections.abc import Callable
from typing import Any

import keras

SIDE = 64
_SHAPE = (SIDE, SIDE, 3)
# Stages of residual backbones.
_STAGES: dict[str, list[int]] = {
    "stackwise_filters": [64, 32, 64, 128],
    "stackwise_blocks": [2, 2, 2, 2],
    "stackwise_strides": [1, 2, 2, 2],
}
# EfficientNet B0.
_EFFICIENT: dict[str, Any] = {
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
    "width_coefficient": 1.0,
    "depth_coefficient": 1.0,
}
# EfficientNetV2, both kinds of blocks.
_EFFICIENT_V2: dict[str, Any] = {
    "stackwise_kernel_sizes": [3] * 6,
    "stackwise_num_repeats": [1, 2, 2, 2, 2, 2],
    "stackwise_input_filters": [24, 24, 48, 64, 128, 160],
    "stackwise_output_filters": [24, 48, 64, 128, 160, 256],
    "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6],
    "stackwise_squeeze_and_excite_ratios": [0, 0, 0, 0.25, 0.25, 0.25],
    "stackwise_strides": [1, 2, 2, 2, 1, 2],
}
# MobileNetV3 small.
_MOBILE: dict[str, Any] = {
    "stackwise_expansion": [1, 4.5, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
    "stackwise_filters": [16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
    "stackwise_kernel_size": [3, 3, 3, *[5] * 8],
    "stackwise_stride": [2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
    "stackwise_se_ratio": [0.25, None, None, *[0.25] * 8],
    "stackwise_activation": [*["relu"] * 3, *["hard_swish"] * 8],
}

Makers = dict[str, Callable[[], keras.Model]]


def applications() -> Makers:
    """Returns models of keras.applications."""

    def maker(name: str, side: int = SIDE, **arguments: Any) -> Any:
        cls = getattr(keras.applications, name)
        return lambda: cls(
            weights=None,
            input_shape=(side, side, 3),
            classes=10,
            classifier_activation=None,
            **arguments,
        )

    return {
        "ResNet50": maker("ResNet50"),
        "ResNet50V2": maker("ResNet50V2"),
        "VGG16": maker("VGG16", 32),
        "MobileNet": maker("MobileNet"),
        "MobileNetV2": maker("MobileNetV2"),
        "MobileNetV3Small": maker(
            "MobileNetV3Small", include_preprocessing=False
        ),
        "DenseNet121": maker("DenseNet121"),
        "EfficientNetB0": maker("EfficientNetB0"),
        "EfficientNetV2B0": maker(
            "EfficientNetV2B0", include_preprocessing=False
        ),
        "ConvNeXtTiny": maker("ConvNeXtTiny"),
        "Xception": maker("Xception", 71),
        "InceptionV3": maker("InceptionV3", 75),
        "InceptionResNetV2": maker("InceptionResNetV2", 75),
    }


def keras_cv() -> Makers:
    """Returns backbones and tasks of keras-cv."""
    from keras_cv import models

    common: dict[str, Any] = {"include_rescaling": False, "input_shape": _SHAPE}
    large = {**common, "input_shape": (128, 128, 3)}

    def csp(**arguments: Any) -> keras.Model:
        return models.CSPDarkNetBackbone(
            stackwise_channels=[16, 32, 64, 128],
            stackwise_depth=[1, 2, 2, 1],
            **common,
            **arguments,
        )

    def resnet(**arguments: Any) -> keras.Model:
        return models.ResNetBackbone(
            **_STAGES, block_type="basic_block", **{**common, **arguments}
        )

    def resnet_v2() -> keras.Model:
        return models.ResNetV2Backbone(**_STAGES, block_type="block", **common)

    def yolo(depth: list[int], options: dict[str, Any]) -> keras.Model:
        return models.YOLOV8Backbone(
            stackwise_channels=[16, 32, 64, 128],
            stackwise_depth=depth,
            **options,
        )

    def vit() -> keras.Model:
        return models.ViTDetBackbone(
            patch_size=16,
            embed_dim=32,
            depth=3,
            mlp_dim=64,
            num_heads=2,
            out_chans=16,
            window_size=2,
            global_attention_indices=[2],
            **common,
        )

    def mit(depth: int) -> keras.Model:
        return models.MiTBackbone(
            depths=[depth] * 4, embedding_dims=[16, 32, 40, 64], **common
        )

    return {
        "ResNetBackbone": resnet,
        "ResNetV2Backbone": resnet_v2,
        "CSPDarkNetBackbone": csp,
        "CSPDarkNetBackbone, depthwise": lambda: csp(use_depthwise=True),
        "DenseNetBackbone": lambda: models.DenseNetBackbone(
            stackwise_num_repeats=[2, 3, 4, 3], **common
        ),
        "MobileNetV3Backbone": lambda: models.MobileNetV3Backbone(
            **_MOBILE, **common
        ),
        "EfficientNetV1Backbone": lambda: models.EfficientNetV1Backbone(
            **_EFFICIENT,
            stackwise_squeeze_and_excite_ratios=[0.25] * 7,
            **common,
        ),
        "EfficientNetV2Backbone": lambda: models.EfficientNetV2Backbone(
            **_EFFICIENT_V2,
            stackwise_conv_types=[*["fused"] * 3, *["unfused"] * 3],
            width_coefficient=1.0,
            depth_coefficient=1.0,
            **common,
        ),
        "EfficientNetLiteBackbone": lambda: models.EfficientNetLiteBackbone(
            **_EFFICIENT, **common
        ),
        "VGG16Backbone": lambda: models.VGG16Backbone(
            include_top=False, **common
        ),
        "YOLOV8Backbone": lambda: yolo([1, 2, 2, 1], common),
        "MiTBackbone": lambda: mit(2),
        "ViTDetBackbone": vit,
        "ImageClassifier": lambda: models.ImageClassifier(csp(), 10),
        "DeepLabV3Plus": lambda: models.DeepLabV3Plus(resnet_v2(), 4),
        "RetinaNet": lambda: models.RetinaNet(
            resnet(**large), 3, bounding_box_format="xywh"
        ),
        "YOLOV8Detector": lambda: models.YOLOV8Detector(
            yolo([1, 1, 1, 1], large),
            fpn_depth=1,
            num_classes=3,
            bounding_box_format="xywh",
        ),
        "SegFormer": lambda: models.SegFormer(
            mit(1), num_classes=3, projection_filters=32
        ),
        "BASNet": lambda: models.BASNet(
            backbone=resnet(input_shape=(None, None, 3)),
            num_classes=1,
            input_shape=_SHAPE,
        ),
    }


def keras_hub() -> Makers:
    """Returns backbones and a task of keras-hub."""
    from keras_hub import models

    image = {"image_shape": _SHAPE}

    def resnet(
        kind: str = "basic_block",
        before: bool = False,
        stem: tuple[list[int], list[int]] = ([64], [7]),
    ) -> keras.Model:
        return models.ResNetBackbone(
            input_conv_filters=stem[0],
            input_conv_kernel_sizes=stem[1],
            stackwise_num_filters=[64, 32, 64, 128],
            stackwise_num_blocks=[2, 2, 2, 2],
            stackwise_num_strides=[1, 2, 2, 2],
            block_type=kind,
            use_pre_activation=before,
            **image,
        )

    def mit() -> keras.Model:
        return models.MiTBackbone(
            num_layers=4,
            hidden_dims=[16, 32, 40, 64],
            layerwise_depths=[1, 1, 1, 1],
            layerwise_num_heads=[1, 2, 5, 8],
            layerwise_sr_ratios=[8, 4, 2, 1],
            layerwise_patch_sizes=[7, 3, 3, 3],
            layerwise_strides=[4, 2, 2, 2],
            max_drop_path_rate=0.1,
            **image,
        )

    v2 = dict(_EFFICIENT_V2)
    return {
        "ResNetBackbone": resnet,
        "ResNetBackbone, pre-activation": lambda: resnet(
            "bottleneck_block", True
        ),
        "ResNetBackbone, vd": lambda: resnet(
            "bottleneck_block_vd", False, ([8, 8, 64], [3, 3, 3])
        ),
        "VGGBackbone": lambda: models.VGGBackbone(
            stackwise_num_repeats=[2, 2, 3],
            stackwise_num_filters=[16, 32, 64],
            **image,
        ),
        "DenseNetBackbone": lambda: models.DenseNetBackbone(
            stackwise_num_repeats=[2, 3, 4, 3], **image
        ),
        "EfficientNetBackbone": lambda: models.EfficientNetBackbone(
            **v2,
            stackwise_block_types=[
                *["fused"] * 3,
                *["unfused"] * 2,
                "cba",
            ],
            stackwise_width_coefficients=[1.0] * 6,
            stackwise_depth_coefficients=[1.0] * 6,
            input_shape=_SHAPE,
        ),
        "CSPNetBackbone": lambda: models.CSPNetBackbone(
            stem_filters=32,
            stem_kernel_size=3,
            stem_strides=1,
            stackwise_strides=2,
            stackwise_depth=[1, 2, 3],
            stackwise_num_filters=[16, 24, 48],
            down_growth=True,
            bottle_ratio=(0.5, 1.0),
            block_ratio=(1.0, 0.5),
            expand_ratio=(2.0, 1.0),
            block_type="dark_block",
            stage_type="csp",
            stem_padding="same",
            **image,
        ),
        "XceptionBackbone": lambda: models.XceptionBackbone(
            stackwise_conv_filters=[[16, 32], [32, 64], [64, 64]],
            stackwise_pooling=[True, True, False],
            **image,
        ),
        "HGNetV2Backbone": lambda: models.HGNetV2Backbone(
            depths=[1, 2, 4],
            embedding_size=32,
            hidden_sizes=[64, 128, 256],
            stem_channels=[3, 16, 32],
            hidden_act="relu",
            use_learnable_affine_block=True,
            stackwise_stage_filters=[
                (32, 16, 64, 1, 1, 3),
                (64, 32, 128, 2, 1, 3),
                (128, 64, 256, 4, 1, 3),
            ],
            apply_downsample=[False, True, True],
            use_lightweight_conv_block=[False, False, True],
            **image,
        ),
        "MiTBackbone": mit,
        "ViTBackbone": lambda: models.ViTBackbone(
            patch_size=(16, 16),
            num_layers=2,
            num_heads=2,
            hidden_dim=32,
            mlp_dim=64,
            **image,
        ),
        "SegFormerBackbone": lambda: models.SegFormerBackbone(
            image_encoder=mit(), projection_filters=32
        ),
        "DeepLabV3Backbone": lambda: models.DeepLabV3Backbone(
            image_encoder=resnet(),
            projection_filters=16,
            low_level_feature_key="P2",
            spatial_pyramid_pooling_key="P5",
            upsampling_size=8,
            dilation_rates=[2, 3, 4],
            **image,
        ),
        "RetinaNetBackbone": lambda: models.RetinaNetBackbone(
            image_encoder=resnet(),
            min_level=3,
            max_level=5,
            use_p5=True,
            use_fpn_batch_norm=True,
            **image,
        ),
        "ImageClassifier": lambda: models.ImageClassifier(
            backbone=resnet(), num_classes=10
        ),
    }


LIBRARIES: dict[str, Callable[[], Makers]] = {
    "keras.applications": applications,
    "keras-cv": keras_cv,
    "keras-hub": keras_hub,
}
