"""A person of many frames as a dressed body: clothes as one frame shows them, colours of all frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from humanpose_cli.avatar.frame_texture import TextureSamples
from humanpose_cli.avatar.options import MeshOptions
from humanpose_cli.avatar.stages import Aligned, Completed, Dressed, bake, complete, dress, take_light_off

_FULL_WEIGHT = 1.0  # a texel that one frame shows is as certain as in a photograph


@torch.no_grad()
def dress_over_frames(alignments: Sequence[Aligned], options: MeshOptions) -> Completed:
    """Dress a person by one frame or several; of one frame as `person.dress_person` does.

    alignments  of one person and body, first the frame that gives clothes, shoes and hair their form
    """
    dressed = dress(alignments[0], options)
    lit = take_light_off(bake(dressed, options))
    if len(alignments) > 1:
        samples = TextureSamples(dressed.texels.fine.size, _FULL_WEIGHT)
        samples.add(lit.texture)
        for aligned in alignments[1:]:
            samples.add(take_light_off(bake(_in_frame(dressed, aligned), options)).texture)
        lit = replace(lit, texture=samples.mean())
    return complete(lit)


def _in_frame(dressed: Dressed, aligned: Aligned) -> Dressed:
    """Put what is worn in one frame onto the body of another; loose cloth hangs otherwise there."""
    vertices = dressed.body.pose(aligned.rotations, aligned.trans) + (aligned.vertices - aligned.posed)
    return replace(dressed, aligned=aligned, vertices=vertices, skirt=None, loose=None)
