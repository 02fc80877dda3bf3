"""How well a body network does on people as the fixed camera sees them, the setting of the paper's analysis."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from humanpose_cli.fitting.nbf.body_layer import BodyLayer
from humanpose_cli.fitting.nbf.parameters import BodyParameters, absolute_to_relative
from humanpose_cli.metrics.bodies import Bodies, BodyErrors, body_errors
from humanpose_cli.training.recipe import moved

__all__ = ["crop_errors"]

Batch = Mapping[str, Tensor]


@torch.no_grad()
def crop_errors(
    predict: Callable[[Batch], BodyParameters], batches: Iterable[Batch], layer: BodyLayer, like: Tensor
) -> BodyErrors:
    """Errors of the people of batches of `BodyExamples`, in their order.

    predict  batch → what the network says of it; like  a tensor on the network's device
    """
    layer = layer.to(like.device)
    parts = []
    for loaded in batches:
        batch = moved(loaded, like.device)
        found = predict(batch)
        count = len(found.betas)
        root = layer.root.expand(count, 3)
        told = Bodies(absolute_to_relative(found.rotations), found.betas, root)
        true = Bodies(absolute_to_relative(batch["rotations"]), batch["betas"], root)
        # A camera of one pixel's crop: shares of joints do not depend on the unit.
        focal = root.new_full((count,), layer.camera.focal / layer.camera.size)
        parts.append(body_errors(layer.body, told, true, focal, root.new_full((count, 2), 0.5)))
    return BodyErrors.joined(parts)
