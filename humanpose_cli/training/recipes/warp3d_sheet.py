"""What a generator does with held-out pairs, as a picture: one row each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from humanpose_cli.conventions import REPOSING19
from humanpose_cli.rendering.overlay import draw_keypoints, person_colour
from humanpose_cli.reposing.warp3d.generator import Generated
from humanpose_cli.reposing.warp3d.inference import to_bytes

__all__ = ["COLUMNS", "pair_sheet"]

COLUMNS = ("input", "target pose", "generated", "truth", "mask", "background")
_GAP = 2


def pair_sheet(batch: Mapping[str, Tensor], made: Generated) -> NDArray[np.uint8]:
    """(B · (S + 2), 6 · (S + 2), 3): input, target pose on its background, generated, truth, mask, background."""
    colours = [to_bytes(found).cpu().numpy() for found in (made.image, made.background)]
    masks = (255 * made.mask[:, 0].float()).round().byte().cpu().numpy()
    rows = []
    for i, (image, background) in enumerate(zip(*colours, strict=True)):
        posed = np.ascontiguousarray(background // 2 + 96)
        pose = batch["target_joints"][i, :, :2].cpu().numpy()
        draw_keypoints(posed, pose, REPOSING19, person_colour(0))
        given, truth = (np.asarray(batch[name][i].cpu()) for name in ("input", "target"))
        mask = np.repeat(masks[i][..., None], 3, -1)
        cells = (given, posed, image, truth, mask, background)
        rows.append(np.concatenate([np.pad(c, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for c in cells], 1))
    return np.concatenate(rows, 0)
