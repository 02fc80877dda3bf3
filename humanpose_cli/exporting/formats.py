"""The formats of `hpc export`: a function writes each, and a row of `FORMATS` has its properties.

docs/reference/files.md has the docstrings as a table. Heavy imports stand inside the functions, so that `--help` can
name the formats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from humanpose_cli.outputs.atomic import (
    atomic_path,
    npz_bytes,
    removed_on_failure,
    write_bytes,
    write_files,
    write_json,
)

if TYPE_CHECKING:
    from humanpose_cli.exporting.export import Export
    from humanpose_cli.exporting.rigs import Rig
    from humanpose_cli.exporting.skins import SkinnedMesh


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        write: Writes an export and returns the files. Its docstring names them and says what they contain.
        is_one_file: Whether one file holds all people, so that `--out` can name it.
        has_surfaces: Whether it has surfaces and textures.
        has_one_rate: Whether it has a frame rate in place of the frames' times.
        shows_frames: Whether it shows what the frames do, so that its people cannot be in place.
        needs_frames: Whether it is made from the pixels of the frames.
        takes_rig: Returns whether its people can be on a rig, from the rig and its name.
        extra: The optional dependency that it needs.
        counted: What `max_count` and `bytes_each` refer to: the fit's frames, or the bodies in all frames.
        max_count: The maximum number.
        bytes_each: The minimum size of one on the disk.
    """

    write: Callable[[Export], list[Path]]
    is_one_file: bool = False
    has_surfaces: bool = False
    has_one_rate: bool = False
    shows_frames: bool = False
    needs_frames: bool = False
    takes_rig: Callable[[Rig, str], bool] = lambda rig, name: False
    extra: str = ""
    counted: Literal["frames", "bodies"] = "bodies"
    max_count: float = math.inf
    bytes_each: int = 0


def _glb(export: Export) -> list[Path]:
    """Write `NAME.glb`, y up, and `NAME.blender.py`.

    glTF 2.0: skinned meshes, skeleton of 24 joints, 54 with hands, animation and textures of each person, cameras.
    """
    from humanpose_cli.exporting.blender import SCRIPT_SUFFIX, blender_script
    from humanpose_cli.exporting.glb_files import GlbFile
    from humanpose_cli.exporting.gltf import animated_glb, glb_bytes

    seconds = export.fit.seconds(1)
    if export.rig is not None and isinstance(glb := export.rig.file, GlbFile):
        rig, ending = export.rig, glb.path.suffix.lower()[1:].replace("gltf", "glb")
        return export.each_person(ending, lambda person, _: animated_glb(person, rig, glb, seconds=seconds))
    path = export.path(".glb")
    data = glb_bytes(export.scene)
    further_files = {export.path(SCRIPT_SUFFIX): blender_script(export.fit, path.parent)}
    with removed_on_failure([*further_files]):
        write_files({**further_files, path: data})
    return [path, *further_files]


def _glb_takes(rig: Rig, name: str) -> bool:
    from humanpose_cli.exporting.glb_files import GlbFile

    return isinstance(rig.file, GlbFile) or not len(rig.positions)


def _fbx(export: Export) -> list[Path]:
    """Write `NAME.fbx`, y up: FBX 7.5, binary: as `glb`, in centimetres, textures embedded."""
    from humanpose_cli.exporting.fbx import animated_fbx, fbx_bytes
    from humanpose_cli.exporting.fbx_files import FbxFile

    if export.rig is not None and isinstance(file := export.rig.file, FbxFile):
        write = partial(
            animated_fbx, rig=export.rig, file=file, seconds=export.fit.seconds(1), rate=export.fit.frame_rate
        )
        return export.each_person("fbx", lambda person, _: write(person))
    write_bytes(path := export.path(".fbx"), fbx_bytes(export.scene))
    return [path]


def _usd(export: Export) -> list[Path]:
    """Write `NAME.usd`, y up, `NAME.blender.py` and textures as PNG.

    UsdSkel skeletons, skinned meshes, animations, cameras with zoom and principal point.
    """
    from humanpose_cli.exporting.blender import SCRIPT_SUFFIX, blender_script
    from humanpose_cli.exporting.usd import write_usd

    path = export.path(".usd")
    names, images = export.images(path.parent, export.stem)
    further_files = {**images, export.path(SCRIPT_SUFFIX): blender_script(export.fit, path.parent)}
    with removed_on_failure([*further_files]), atomic_path(path) as temporary:
        write_usd(temporary, export.scene, names)
        write_files(further_files)
    return [path, *further_files]


def _usdz(export: Export) -> list[Path]:
    """Write `NAME.usdz`: `usd` and its textures in one file."""
    from humanpose_cli.exporting.usd import packed_usd

    with TemporaryDirectory() as name:
        names, images = export.images(Path(name), "people")
        write_files(images)
        write_bytes(path := export.path(".usdz"), packed_usd(Path(name), export.scene, names))
    return [path]


def _bvh(export: Export) -> list[Path]:
    """Write `NAME.person0.bvh`, y up: the joints of one person, T pose at rest, degrees."""
    from humanpose_cli.exporting.bvh import bvh_text

    fit = export.fit
    return export.each_person("bvh", lambda person, _: bvh_text(person, fit.frame_rate, fit.frame_times))


def _vrma(export: Export) -> list[Path]:
    """Write `NAME.person0.vrma`, y up: VRM Animation 1.0 of one person."""
    from humanpose_cli.exporting.gltf import vrma_bytes
    from humanpose_cli.exporting.rigs import read_rig

    seconds = export.fit.seconds(1)
    if export.rig is None:
        on_vrm = (export.travelling or export).on_rig(read_rig("vrm"), grounded=False)
        export = on_vrm.in_place() if export.travelling else on_vrm
    return export.each_person("vrma", lambda person, _: vrma_bytes(person, seconds=seconds))


def _amass(export: Export) -> list[Path]:
    """Write `NAME.person0.amass.npz`, z up.

    `poses` (T, 72; with hands T, 156), also as `root_orient` (T, 3), `pose_body` (T, 63) and `pose_hand` (T, 90),
    `trans` (T, 3), `betas` (10,), `gender`, `mocap_framerate` and `mocap_frame_rate`, `world_to_camera` (T, 4, 4).
    """
    fit = export.fit
    return export.each_person("amass.npz", lambda person, _: npz_bytes(fit.to_amass(person.track, body=export.body)))


def _json(export: Export) -> list[Path]:
    """Write `NAME.json`, in the axes of each frame's camera.

    All cameras; pose, shape, joints and keypoints of all people by name, per frame.
    """
    write_json(path := export.path(".json"), export.document, indent=None)
    return [path]


def _obj(export: Export) -> list[Path]:
    """Write `NAME.obj`, y up, with `.mtl` and PNG; for a clip a folder, `000012.obj` for frame 12.

    An object per person and garment, texture coordinates.
    """
    from humanpose_cli.exporting.meshes import materials_text, obj_text

    single = export.fit.frame_count == 1
    folder, stem = (export.base.parent, export.stem) if single else (export.path(".obj"), "people")
    names, images = export.images(folder, stem)
    library = folder / f"{stem}.mtl"
    further_files = {**images, library: materials_text([*chain(*export.meshes.values())], names).encode()}

    def write(path: Path, meshes: Sequence[SkinnedMesh]) -> None:
        mesh = {path: obj_text(meshes, library.name).encode()}
        write_files({**further_files, **mesh} if single else mesh)

    with removed_on_failure([*further_files]):
        if not single and len(export.fit.frame_index):  # all frames refer to it; an image's mesh appears with it
            write_files(further_files)
        paths = export.each_frame("obj", write)
    return [*paths, library, *images] if paths else []


def _ply(export: Export) -> list[Path]:
    """Write `NAME.ply`, y up, for a clip a folder: one mesh with colours."""
    from humanpose_cli.exporting.meshes import write_ply

    return export.each_frame("ply", write_ply)


def _masks(export: Export) -> list[Path]:
    """Write the folder `NAME.masks`, MP4, of photographs PNG.

    `people`, each person in SCAIL-2's colours on black; `all`, in white; of
    photographs also `person0`, `person1`; `coco.json`, as of `hpc fit --masks`.
    """
    from humanpose_cli.exporting.masks import export_masks

    assert export.frames is not None
    return export_masks(export.original, export.frames, export.path(".masks"), export.progress)


def _maps(export: Export) -> list[Path]:
    """Write the folder `NAME.maps`, MP4, of photographs PNG.

    `bodies`, shaded on black; `depth`, 8 bits; `normals`; `parts`; `openpose`, figures; `openpose.json`;
    `depth_000012.png`, 16 bits, for frame 12.
    """
    from humanpose_cli.exporting.maps import write_maps

    return write_maps(export.original, export.body, export.path(".maps"), export.progress)


def _laboratory(export: Export, kind: str) -> list[Path]:
    """Write `NAME.person0.trc`, `.c3d`, `.mot` and `.csv`, y up, C3D z up.

    `trc`, `c3d` (extra `c3d`): joint centres, markers by OpenSim's names, millimetres; C3D has residuals −1 without the
    person, at most 65,535 frames. `mot`: OpenSim's coordinates in degrees and metres, a row for each frame with the
    person. `csv`: the same, with ISB's shoulder angles.
    """
    from humanpose_cli.exporting.laboratory import LABORATORY, turn_to_x

    content, turn = LABORATORY[kind], turn_to_x(export.people)
    return export.each_person(kind, lambda person, name: content(export.fit, export.body, person, turn, name))


# glTF's lengths have 32 bits, and a body of 54 joints takes up to 1.6 kB. C3D counts frames in 16 bits: programs that
# look beyond, in TRIAL:ACTUAL_END_FIELD or POINT:LONG_FRAMES, are few, and ezc3d and OpenSim are not among them. The
# other formats have 64 bits, or are text.
_MAX_GLB, _MAX_C3D = 2_500_000, 65_535
FORMATS: Mapping[str, Format] = {
    "glb": Format(_glb, is_one_file=True, has_surfaces=True, takes_rig=_glb_takes, max_count=_MAX_GLB),
    "fbx": Format(_fbx, is_one_file=True, has_surfaces=True, takes_rig=lambda rig, name: True),
    "usd": Format(_usd, is_one_file=True, has_surfaces=True, extra="usd"),
    "usdz": Format(_usdz, is_one_file=True, has_surfaces=True, extra="usd"),
    "bvh": Format(_bvh, has_one_rate=True, takes_rig=lambda rig, name: True),
    "vrma": Format(_vrma, takes_rig=lambda rig, name: name == "vrm", counted="frames", max_count=_MAX_GLB),
    "amass": Format(_amass, has_one_rate=True),
    "json": Format(_json, is_one_file=True),
    "obj": Format(_obj, has_surfaces=True, bytes_each=800_000),
    "ply": Format(_ply, has_surfaces=True, bytes_each=250_000),
    "masks": Format(_masks, shows_frames=True, needs_frames=True),
    "maps": Format(_maps, shows_frames=True),
    "trc": Format(partial(_laboratory, kind="trc")),
    "c3d": Format(partial(_laboratory, kind="c3d"), extra="c3d", counted="frames", max_count=_MAX_C3D),
    "mot": Format(partial(_laboratory, kind="mot")),
    "csv": Format(partial(_laboratory, kind="csv")),
}
"""The formats by the user's names."""
OTHER_FORMATS = {  # formats that are not written → what to write instead
    **dict.fromkeys(("blend", "gltf", "vrm"), "glb: Blender opens it"),
    **dict.fromkeys(("abc", "usda", "usdc", "ma", "mb", "c4d"), "usd or fbx: Maya and Cinema 4D open both"),
    **dict.fromkeys(("dae", "stl", "uasset", "unity", "max"), "fbx for engines and 3ds Max, obj for meshes alone"),
    **dict.fromkeys(("npz", "smpl", "smplx", "npy", "pkl"), "amass holds the parameters of SMPL; json all joints"),
    **dict.fromkeys(("mp4", "png", "jpg"), "hpc fit writes the overlay, hpc repose images and videos"),
    "html": "hpc view writes pages",
}


def formats_with(is_chosen: Callable[[Format], bool]) -> list[str]:
    """List the formats that a function chooses, by name."""
    return [name for name, kind in FORMATS.items() if is_chosen(kind)]
