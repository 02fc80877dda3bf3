"""`hpc export`: fits as files of other programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from humanpose_cli.cli.fit_inputs import TEXTURED, FitInputs
from humanpose_cli.cli.options import BatchFlags, OutOrFile, option
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.result import CommandResult
from humanpose_cli.exporting.formats import FORMATS

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.exporting.export import Export

_FORMAT = option(
    "--format NAME,NAME",
    f"Formats: {','.join(FORMATS)}. Default: as --out, --rig; glb.",
)
_FRAME_RATE = option("--frame-rate N", "Frame rate of fits without one, such as fits of image folders. Default: 25.")
_RIG = option(
    "--rig NAME|FILE",
    "Skeleton: mixamo, ue5, vrm, rigify, smplx, lafan1, soma, or a character's file. Default: the body's.",
)
_WORLD = option(
    "--world camera|ground",
    "Origin: camera (the first frame's camera, its up is up) or ground (feet on level ground at height 0).",
)
_IN_PLACE = option("--in-place", "Keep the pelvis above one point of the ground, for games; feet slide.")


@dataclass(frozen=True)
class ExportFlags:
    """Options of the files."""

    formats: Annotated[str | None, _FORMAT] = None
    frame_rate: Annotated[float | None, _FRAME_RATE] = None
    world: Annotated[Literal["camera", "ground"], _WORLD] = "camera"
    rig: Annotated[str | None, _RIG] = None
    in_place: Annotated[bool, _IN_PLACE] = False


@command(
    columns=(
        ("format", "format", "Format of the files."),
        ("people", "people", "Number of people."),
        ("frames", "frames", "Number of frames."),
        ("files", "files", "Number of files."),
        ("doubtful", "doubtful", "Why a body or a limb may be wrong.", True),
    ),
    usual="--out --format --rig --in-place --frames --person --world --texture --frame-rate --body --overwrite",
    examples=(
        "hpc export hpc-out/fit/clip.mp4.fit.npz",
        "hpc export hpc-out/fit/clip.mp4.fit.npz --out dance.glb --world ground",
        "hpc export hpc-out/fit/clip.mp4.fit.npz --rig hero.vrm --world ground",
        "hpc export hpc-out/fit --format amass,bvh --person largest",
    ),
)
def export(
    session: Session,
    flags: BatchFlags,
    inputs: FitInputs,
    chosen: ExportFlags,
    out: OutOrFile = Path("hpc-out/export"),
) -> CommandResult:
    """Write fits for other programs: glTF, FBX, USD, BVH, AMASS, OBJ and others.

    Writes NAME.glb (NAME.refined.glb of a refined fit), with all people and the camera, for each fit; --format chooses
    other formats.

    glb, fbx, usd and json hold all people and the camera; bvh, amass, vrma, and glb or fbx with your own character
    (--rig FILE) are one file for each person; obj and ply are folders with one file for each frame; masks
    and maps are folders with videos for image generators; trc, c3d, mot and csv are markers and joint angles.

    NAME.blender.py opens NAME.glb or NAME.usd in Blender with the clip's frame rate, range and camera, and with the
    frames as background if they are found. Lengths are in metres, of FBX in centimetres. AMASS is z up, JSON has
    camera axes, all other formats are y up.
    """
    input_set = inputs.find(session, flags, out)

    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.core.progress import part_of
    from humanpose_cli.exporting import exporter
    from humanpose_cli.fitting.records import record_summary
    from humanpose_cli.fitting.times_between import evenly_spaced

    exporter.check_frame_rate(chosen.frame_rate)
    own = Path(chosen.rig or "").suffix.lower()[1:]
    base_of, kinds = exporter.output_base(out, chosen.formats or (own if own in ("bvh", "fbx") else None))
    skeleton = exporter.rig_of(chosen.rig, kinds, base_of("").parent, in_place=chosen.in_place)
    has_surfaces = any(FORMATS[kind].has_surfaces for kind in kinds) and not (skeleton and len(skeleton.positions))
    sources: dict[str, tuple[str, str]] = {}  # the name of a fit and a format, by item: another run may bring others
    items = []
    for source in inputs.items(*input_set, lambda _: ()):
        base, counts = base_of(source.key), exporter.counts_of(source.payload[0])
        for kind in kinds:
            is_one = FORMATS[kind].is_one_file and not (skeleton and skeleton.file)
            paths = (base.with_name(f"{base.name}.{kind}"),) if is_one else ()
            error = source.error or exporter.refusal_of(kind, *counts, base.parent, has_images=len(source.files) > 1)
            people = "" if inputs.person == "all" else f" of person {inputs.person}"  # whose files stay beside others'
            items.append(replace(source, key=f"{source.key} as {kind}{people}", outputs=paths, error=error))
            sources[items[-1].key] = source.key, kind
    latest: dict[str, Export] = {}  # of the item before, whose fit often is that of the next

    def work(item: Item) -> Outcome:
        name, kind = sources[item.key]
        if name not in latest:
            latest.clear()
            fit, _, textures = inputs.read(session, item, with_looks=has_surfaces)
            made = exporter.export_of(
                fit,
                base_of(name),
                frame_rate=chosen.frame_rate,
                world=chosen.world,
                textures=textures,
                progress=part_of(session.reporter.step, TEXTURED, 1),
            )
            made = made.on_rig(skeleton, grounded=chosen.world == "ground")
            latest[name] = made.in_place() if chosen.in_place else made
        task = latest[name]
        path = exporter.write_formats(task, (kind,))
        if path[-1].name.endswith(".blender.py") and task.fit.frame_count > 1:
            rate = f"{task.fit.frame_rate:g} frames/s"
            session.reporter.info(
                f"{name}: {task.fit.frame_count} frames at {rate}; {path[-1].name} opens them in Blender"
            )
        times = task.fit.frame_times
        if FORMATS[kind].has_one_rate and times is not None and not evenly_spaced(times, task.fit.frame_rate):
            rate = f"{task.fit.frame_rate:g} frames/s"
            session.reporter.info(f"{name}: its frames are not evenly spaced; {kind} has {rate}, interpolated")
        counted = {"format": kind, "people": len(task.people), "frames": task.fit.frame_count, "files": len(path)}
        return Outcome(path, {**counted, "doubtful": record_summary(task.original)["doubtful"]})

    identity = {**asdict(replace(chosen, formats=None, rig=exporter.rig_identity(chosen.rig))), **inputs.identity()}
    return flags.run(session, items, work, out, identity)
