"""Run inside Blender after a script of `hpc export`: prints the scene, and where it draws three joints, as JSON."""

import json
import sys

import bpy
from bpy_extras.object_utils import world_to_camera_view

scene = bpy.context.scene
camera = scene.camera
armature = min((each for each in scene.objects if each.type == "ARMATURE"), key=lambda each: each.name)
plates = [each for each in camera.data.background_images if each.image]
result = {
    "scene": scene.name,
    "rate": scene.render.fps / scene.render.fps_base,
    "range": [scene.frame_start, scene.frame_end],
    "resolution": [scene.render.resolution_x, scene.render.resolution_y],
    "last_key": max(action.frame_range[1] for action in bpy.data.actions),
    "plate": bpy.path.abspath(plates[0].image.filepath) if plates else None,
    "plate_frames": plates[0].image.frame_duration if plates else 0,
    "pixels": [],
}
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    heads = [armature.matrix_world @ armature.pose.bones[name].head for name in ("pelvis", "left_hip", "right_hip")]
    result["pixels"].append([list(world_to_camera_view(scene, camera, head))[:2] for head in heads])
sys.stdout.write("\nSCENE " + json.dumps(result) + "\n")
