"""People as USD: UsdSkel skeletons, skinned meshes and animations, and cameras; needs usd-core (extra `usd`).

Lengths are in metres, y is up, and a frame has one time code. A person is invisible in frames that do not show them.

Source: the schemas UsdSkel and UsdGeom of OpenUSD.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from humanpose_cli.core.conventions import Skeleton
from humanpose_cli.exporting.gltf import linear_colour, quaternions
from humanpose_cli.exporting.motion import CameraPath, PersonMotion
from humanpose_cli.exporting.skins import ROUGHNESS, AnimatedScene, SkinnedMesh
from humanpose_cli.files.sniffing import read_bytes

_APERTURE = 20.955  # millimetres, UsdGeomCamera's default horizontal aperture: the scale of focal lengths
_NEAR, _FAR = 0.01, 1000.0  # metres
_WRITING_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


def joint_paths(skeleton: Skeleton) -> list[str]:
    """List UsdSkel's names of the joints, each with its ancestors."""
    paths: list[str] = []
    for name, parent in zip(skeleton.joint_names, skeleton.parents, strict=True):
        paths.append(name if parent < 0 else f"{paths[parent]}/{name}")
    return paths


def write_usd(path: Path | str, scene: AnimatedScene, images: Mapping[str, str]) -> None:
    """Write the people, who have meshes, and the cameras as one binary file, with the frame rate as rate of time codes.

    Args:
        path: The file, not written atomically: use `atomic_path`.
        scene: The people and the cameras.
        images: File names of images, in the folder of `path`, by the meshes' names.

    Raises:
        ImportError: Without usd-core (extra `usd`).
        OSError: If the file cannot be written.
    """
    from pxr import Sdf, Tf, Usd, UsdGeom, UsdSkel

    layer = Sdf.Layer.CreateAnonymous(".usdc")
    stage = Usd.Stage.Open(layer)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    codes = scene.first + scene.seconds * scene.frame_rate
    stage.SetTimeCodesPerSecond(scene.frame_rate)
    stage.SetFramesPerSecond(scene.frame_rate)
    stage.SetStartTimeCode(float(codes[0]))
    stage.SetEndTimeCode(float(codes[-1]))
    root = UsdSkel.Root.Define(stage, "/people")
    stage.SetDefaultPrim(root.GetPrim())
    for person in scene.people:
        skeleton = _add_person(stage, person, codes)
        for mesh in scene.meshes[person.track]:
            _add_mesh(stage, mesh, f"/people/{person.name}", skeleton, images.get(mesh.name))
    for name, camera in scene.cameras.items():
        _add_camera(stage, name, camera, codes)
    try:
        with TemporaryDirectory() as folder:  # USD reads only names in UTF-8
            layer.Export(f"{folder}/people.usdc", args={"format": "usdc"})
            shutil.copyfile(f"{folder}/people.usdc", path)
    except Tf.ErrorException as error:  # holds the system's error only as text
        code = next((code for code in _WRITING_ERRORS if os.strerror(code) in str(error)), errno.EIO)
        raise OSError(code, os.strerror(code), str(path)) from error


def packed_usd(folder: Path, scene: AnimatedScene, images: Mapping[str, str]) -> bytes:
    """Return the scene and the images in `folder` as one USDZ file; arguments and errors as in `write_usd`."""
    from pxr import UsdUtils

    write_usd(folder / "people.usdc", scene, images)
    if not UsdUtils.CreateNewUsdzPackage(f"{folder}/people.usdc", f"{folder}/people.usdz"):
        raise OSError(errno.EIO, "USD cannot pack the file", str(folder))
    return read_bytes(folder / "people.usdz")


def _add_person(stage: Any, person: PersonMotion, codes: NDArray[np.float64]) -> Any:
    """Add a person without meshes; return the skeleton."""
    from pxr import Gf, UsdGeom, UsdSkel, Vt

    root = f"/people/{person.name}"
    group = UsdGeom.Xform.Define(stage, root)
    for frame, scales in zip(*person.visibility(len(codes)), strict=True):
        group.CreateVisibilityAttr().Set("inherited" if scales.any() else "invisible", float(codes[frame]))
    skeleton = UsdSkel.Skeleton.Define(stage, f"{root}/skeleton")
    skeleton.CreatePurposeAttr(UsdGeom.Tokens.guide)  # renderers draw the mesh, not the bones
    skeleton.CreateJointsAttr(joint_paths(person.skeleton))
    translations = np.tile(person.rest_offsets, (len(person.frames), 1, 1))
    translations[:, 0] = person.pelvis
    bind, above = person.bind_matrices, np.linalg.inv(person.bind_matrices[person.parents])
    at_rest = np.where((person.parents < 0)[:, None, None], bind, above @ bind)
    for create, matrices in ((skeleton.CreateBindTransformsAttr, bind), (skeleton.CreateRestTransformsAttr, at_rest)):
        create().Set(Vt.Matrix4dArray.FromNumpy(matrices.transpose(0, 2, 1)))  # Gf multiplies rows
    motion = UsdSkel.Animation.Define(stage, f"{root}/skeleton/motion")
    motion.CreateJointsAttr(joint_paths(person.skeleton))
    turns = quaternions(person.rotations)[..., [3, 0, 1, 2]]  # Gf has the real part first
    scales = np.repeat(person.local_scales[..., None], 3, -1)
    attributes = (motion.CreateTranslationsAttr(), motion.CreateRotationsAttr(), motion.CreateScalesAttr())
    for row, frame in enumerate(person.frames.tolist()):
        time = [float(codes[frame])] if len(codes) > 1 else []
        attributes[0].Set(Vt.Vec3fArray.FromNumpy(translations[row].astype(np.float32)), *time)
        attributes[1].Set(Vt.QuatfArray([Gf.Quatf(*turn) for turn in turns[row].tolist()]), *time)
        attributes[2].Set(Vt.Vec3hArray.FromNumpy(scales[row].astype(np.float16)), *time)
    UsdSkel.BindingAPI.Apply(skeleton.GetPrim()).CreateAnimationSourceRel().SetTargets([motion.GetPath()])
    return skeleton


def _add_mesh(stage: Any, surface: SkinnedMesh, root: str, skeleton: Any, image: str | None) -> None:
    from pxr import Gf, Sdf, UsdGeom, UsdShade, UsdSkel, Vt

    mesh = UsdGeom.Mesh.Define(stage, f"{root}/{surface.part}")
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(surface.vertices.astype(np.float32)))
    mesh.CreateFaceVertexCountsAttr(Vt.IntArray(len(surface.faces), 3))
    mesh.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(surface.faces.reshape(-1).astype(np.int32)))
    mesh.CreateDoubleSidedAttr(surface.part != "body")
    mesh.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    mesh.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(surface.normals.astype(np.float32)))
    mesh.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    mesh.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(mesh.GetPointsAttr().Get()))
    uv = (surface.uv * (1, -1) + (0, 1)).astype(np.float32)  # v goes up in USD
    primvars = UsdGeom.PrimvarsAPI(mesh)
    st = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
    st.Set(Vt.Vec2fArray.FromNumpy(uv))
    st.SetIndices(Vt.IntArray.FromNumpy(surface.uv_faces.reshape(-1).astype(np.int32)))
    colour = Gf.Vec3f(*linear_colour(surface.track))
    mesh.CreateDisplayColorAttr([colour])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    slots = surface.bones.shape[1]
    indices, weights = surface.bones.reshape(-1), surface.weights.reshape(-1)
    binding.CreateJointIndicesPrimvar(False, slots).Set(Vt.IntArray.FromNumpy(indices.astype(np.int32)))
    binding.CreateJointWeightsPrimvar(False, slots).Set(Vt.FloatArray.FromNumpy(weights.astype(np.float32)))
    binding.CreateGeomBindTransformAttr(Gf.Matrix4d(1))
    binding.CreateSkeletonRel().SetTargets([skeleton.GetPath()])
    material = _material(stage, f"{root}/material_{surface.part}", colour, image)
    UsdShade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _material(stage: Any, path: str, colour: Any, texture: str | None) -> Any:
    from pxr import Sdf, UsdShade

    material = UsdShade.Material.Define(stage, path)
    surface = UsdShade.Shader.Define(stage, f"{path}/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    surface.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(ROUGHNESS)
    diffuse = surface.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f)
    if texture is None:
        diffuse.Set(colour)
    else:
        reader = UsdShade.Shader.Define(stage, f"{path}/uv")
        reader.CreateIdAttr("UsdPrimvarReader_float2")
        reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
        image = UsdShade.Shader.Define(stage, f"{path}/texture")
        image.CreateIdAttr("UsdUVTexture")
        image.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(Sdf.AssetPath(f"./{texture}"))
        image.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
        place = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
        image.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(place)
        diffuse.ConnectToSource(image.CreateOutput("rgb", Sdf.ValueTypeNames.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    return material


def _add_camera(stage: Any, name: str, camera: CameraPath, codes: NDArray[np.float64]) -> None:
    """Add position, direction, zoom and principal point of all frames, the last two as lens and aperture."""
    from pxr import Gf, Tf, UsdGeom

    identifier = Tf.MakeValidIdentifier(f"_{name}" if name[:1].isdigit() else name)  # which would lose the digit
    prim = UsdGeom.Camera.Define(stage, f"/people/{identifier}")
    prim.CreateHorizontalApertureAttr(_APERTURE)
    prim.CreateClippingRangeAttr(Gf.Vec2f(_NEAR, _FAR))
    transform = prim.AddTransformOp()
    names = ("VerticalAperture", "HorizontalApertureOffset", "VerticalApertureOffset", "FocalLength")
    lens = [getattr(prim, f"Create{name}Attr")() for name in names]
    width, height = camera.size.T.astype(float)
    unit = _APERTURE / width  # millimetres a pixel
    right, down = camera.centre.T - camera.size.T / 2
    values = np.stack((height * unit, -right * unit, down * unit, camera.focal * unit), 1)
    matrices = np.zeros((len(unit), 4, 4))
    matrices[:, :3, :3] = camera.rotations.transpose(0, 2, 1)  # Gf multiplies rows
    matrices[:, 3, :3], matrices[:, 3, 3] = camera.positions, 1
    still = (matrices == matrices[0]).all() and (values == values[0]).all()
    for frame in range(1 if still else len(unit)):
        time: Sequence[float] = () if still else (float(codes[frame]),)
        transform.Set(Gf.Matrix4d(matrices[frame].tolist()), *time)
        for attribute, value in zip(lens, values[frame].tolist(), strict=True):
            attribute.Set(value, *time)
