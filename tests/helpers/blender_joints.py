"""Run inside Blender: imports a file with the default settings and prints its bones at rest and its joints, as JSON.

blender --background --factory-startup --python blender_joints.py -- FILE RATE FRAME…
"""

import builtins
import contextlib
import json
import sys

import bpy

_open = builtins.open
# Blender 3.4's importer of BVH asks for universal newlines by a mode that Python 3.11 has no more.
builtins.open = lambda file, mode="r", *more, **named: _open(file, mode.replace("U", ""), *more, **named)

with contextlib.suppress(ImportError):
    import numpy

    for name in ("bool", "object", "int", "float"):  # which its importer of glTF takes from numpy of that time
        if name not in vars(numpy):
            setattr(numpy, name, getattr(builtins, name))

path, rate, *frames = sys.argv[sys.argv.index("--") + 1 :]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.context.scene.render.fps = int(rate)  # to which the importer of glTF turns seconds
ending = path.rpartition(".")[2]
if ending == "glb":
    bpy.ops.import_scene.gltf(filepath=path)
elif ending == "fbx":
    bpy.ops.import_scene.fbx(filepath=path)
elif ending == "bvh":
    bpy.ops.import_anim.bvh(filepath=path, update_scene_fps=True)
else:
    bpy.ops.wm.usd_import(filepath=path)
scene = bpy.context.scene
result = {"rate": scene.render.fps / scene.render.fps_base, "frames": {}}
result["rest"] = {
    each.name: {bone.name: [list(bone.head_local), list(bone.tail_local)] for bone in each.data.bones}
    for each in scene.objects
    if each.type == "ARMATURE"
}
for frame in frames:
    scene.frame_set(int(frame))
    result["frames"][frame] = {
        each.name: {bone.name: list(each.matrix_world @ bone.head) for bone in each.pose.bones}
        for each in scene.objects
        if each.type == "ARMATURE"
    }
sys.stdout.write("JOINTS " + json.dumps(result) + "\n")
