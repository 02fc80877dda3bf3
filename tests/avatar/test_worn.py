"""Which parts clothes cover."""

import numpy as np
from helpers.repose_stage import Stage

from humanpose_cli.avatar.shoes import VertexColours
from humanpose_cli.avatar.surface import FEET, HANDS, body_texels
from humanpose_cli.avatar.worn import clothed_parts
from humanpose_cli.body.parts import parts_mask
from humanpose_cli.core.conventions import SMPL24

SKIN, BLUE = (0.80, 0.60, 0.50), (0.15, 0.2, 0.6)
LEGS = tuple(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee"))


def test_bare_legs_are_not_clothed_and_hidden_shins_are_as_the_thighs(stage: Stage) -> None:
    surface, labels = body_texels(stage.body, 512), stage.body.part_labels.numpy()
    colour = np.tile(np.array(BLUE, np.float32), (len(labels), 1))
    colour[parts_mask(labels, ("head", "neck", *HANDS, *LEGS, *FEET))] = SKIN
    visible = ~parts_mask(labels, ("left_knee", "right_knee"))
    parts = clothed_parts(surface, VertexColours(colour, visible), np.array(SKIN))
    clothed = {name for name, share in zip(SMPL24.joint_names, parts, strict=True) if share}
    bare = {"head", "neck", *HANDS, *LEGS, *FEET}
    assert clothed == set(SMPL24.joint_names) - bare
    everything = clothed_parts(surface, VertexColours(colour, visible), None)
    assert everything[SMPL24.indices(LEGS)].all(), "without skin to compare with"
