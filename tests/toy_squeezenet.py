"""A SqueezeNet of the true architecture with random weights."""

import torch


def fake_squeezenet() -> dict[str, torch.Tensor]:
    """By the names that its file has."""
    generator = torch.Generator().manual_seed(0)
    weights = {"conv1_w": torch.randn(96, 3, 7, 7, generator=generator) / 12, "conv1_b": torch.zeros(96)}
    sizes = {2: (96, 16, 64), 3: (128, 16, 64), 4: (128, 32, 128), 5: (256, 32, 128)}
    sizes |= {6: (256, 48, 192), 7: (384, 48, 192), 8: (384, 64, 256)}
    for index, (entering, squeezed, expanded) in sizes.items():
        for part, shape in (
            ("conv1x1_1", (squeezed, entering, 1, 1)),
            ("conv1x1_2", (expanded, squeezed, 1, 1)),
            ("conv3x3_2", (expanded, squeezed, 3, 3)),
        ):
            fan = shape[1] * shape[2] * shape[3]
            weights[f"fire{index}__{part}_w"] = torch.randn(shape, generator=generator) * (2 / fan) ** 0.5
            weights[f"fire{index}__{part}_b"] = torch.zeros(shape[0])
    return weights
