"""`hpc repose`: the same people in another pose."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from humanpose_cli.cli.command import Session, command
from humanpose_cli.cli.options import (
    BatchFlags,
    BodyOption,
    Device,
    Focal,
    Frames,
    Out,
    Threads,
)
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.result import CommandResult

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome

__all__ = ["repose"]


SkeletonName = Literal["smpl24", "reposing19", "h36m17", "coco17", "blazepose33"]
Axes = Literal["camera", "y-up", "z-up"]

_MORE = typer.Argument(metavar="INPUT", help="More inputs, as of --input.", show_default=False)
_INPUT = typer.Option(
    "--input",
    metavar="INPUT",
    help="Photograph, folder or glob pattern, or - for a list of paths on stdin; may be repeated. Needed.",
    show_default=False,
)
_TARGET = typer.Option(
    "--target-pose",
    metavar="FILE",
    help="The pose: .npy with joint positions (J, 3) or (T, J, 3) in metres, AMASS .npz, .fit.npz, .bvh, an image, "
    "or a driving video or folder of frames. Needed.",
    show_default=False,
)
_SKELETON = typer.Option(
    "--skeleton", help="Joints of a .npy target. Default: by their number; 17 needs it.", show_default=False
)
_AXES = typer.Option(
    "--target-axes",
    help="Axes of the target file. Default: camera (x right, y down, z forward) for .npy, z-up for AMASS, y-up for "
    ".bvh.",
    show_default=False,
)
_METHOD = typer.Option(
    "--method",
    help="How to make the image. mesh: the photograph wrapped round the fitted body. warp3d: a network. auto: "
    "the better of both on photographs, which is the mesh.",
)
_WEIGHTS = typer.Option(
    "--weights",
    metavar="FILE|RUN",
    help="The network: a file, a run of hpc train warp3d, or a name of hpc weights list.",
)
_MESH_INPUT = typer.Option(
    "--mesh-input",
    help="With --method warp3d: give the network the mesh's drawing too, whose detail it takes over where it fits.",
)
_PERSON = typer.Option("--person", metavar="ID|largest|all", help="Whom to repose; ids count from 0, the largest.")
_ABSOLUTE = typer.Option(
    "--absolute", help="Put the pose where its own coordinates say. Default: where the person is in the photograph."
)
_BACKGROUND = typer.Option(
    "--background",
    metavar="keep|FILE|transparent",
    help="What stands behind: the photograph's own, made up where the person was; an image; nothing.",
)
_SIZE = typer.Option(
    "--size", metavar="N", min=16, help="Longer side of the result in pixels. Default: the photograph's."
)
_NUMBERED = typer.Option(
    "--numbered/--video",
    help="What a target of many poses makes: numbered images or a video. Default: a video, numbered if transparent.",
    show_default=False,
)
_DETECTOR = typer.Option("--detector", help="How hard to look for people.")


@dataclass(frozen=True)
class DrawingFlags:
    """How the new image is made, as one parameter."""

    method: Annotated[Literal["auto", "mesh", "warp3d"], _METHOD] = "auto"
    weights: Annotated[str, _WEIGHTS] = "warp3d"
    mesh_input: Annotated[bool, _MESH_INPUT] = False

    def options(self) -> dict[str, Any]:
        """As `ReposeOptions` takes them."""
        return {"method": self.method, "weights": self.weights, "mesh_input": self.mesh_input}


@command(
    columns=(
        ("poses", "poses", "How many poses were drawn."),
        ("method", "method", "How: mesh or warp3d."),
        ("seen", "visible", "Share of the body's surface that the photograph shows."),
    ),
    tunes=True,
)
def repose(
    session: Session,
    flags: BatchFlags,
    more: Annotated[list[str] | None, _MORE] = None,
    *,
    input: Annotated[list[str] | None, _INPUT] = None,
    target_pose: Annotated[Path | None, _TARGET] = None,
    skeleton: Annotated[SkeletonName | None, _SKELETON] = None,
    axes: Annotated[Axes | None, _AXES] = None,
    absolute: Annotated[bool, _ABSOLUTE] = False,
    drawing: DrawingFlags,
    person: Annotated[str, _PERSON] = "largest",
    background: Annotated[str, _BACKGROUND] = "keep",
    size: Annotated[int | None, _SIZE] = None,
    numbered: Annotated[bool | None, _NUMBERED] = None,
    detector: Annotated[Literal["thorough", "fast"], _DETECTOR] = "thorough",
    body: BodyOption = "default",
    focal: Focal = None,
    out: Out = Path("hpc-out/repose"),
    frames: Frames = None,
    device: Device = "auto",
    threads: Threads = None,
) -> CommandResult:
    """Draw the people of photographs in another pose.

    One pose makes an image (NAME.reposed.png), a motion a video (NAME.reposed.mp4) or numbered images.
    --frames picks frames of a driving video.
    """
    inputs = [*(input or ()), *(more or ())]
    if not inputs:
        raise UsageError("--input", "is missing", expected="a photograph, folder or glob pattern")
    if target_pose is None:
        raise UsageError("--target-pose", "is missing", expected=".npy, .npz, .bvh, an image or a video")

    import sys

    from humanpose_cli.batch.items import item_of
    from humanpose_cli.batch.runner import Outcome, run_items
    from humanpose_cli.fitting.fitter import FitOptions
    from humanpose_cli.io.frame_range import ALL_FRAMES
    from humanpose_cli.io.inputs import OWN_SUFFIXES, open_inputs
    from humanpose_cli.reposing.reposer import ReposeOptions, Reposer, form_of, repose_item, repose_outputs
    from humanpose_cli.reposing.targets import read_target

    found = open_inputs(inputs, sys.stdin, sequence=False, exclude=[out], own_suffixes=OWN_SUFFIXES)
    session.tell(found.messages)
    for source in found:
        if source.is_sequence:
            session.reporter.info(f"{source.label}: the people of its first frame are reposed")
    fit = FitOptions(body, "all", detector, focal)
    transparent = background == "transparent"
    options = session.tune(
        ReposeOptions(person, absolute, "transparent" if transparent else "keep", size, fit=fit, **drawing.options())
    )
    with Reposer(options, device=device, threads=threads) as reposer:
        target = read_target(
            target_pose,
            reposer.fitter,
            skeleton=skeleton,
            axes=axes,
            frames=frames or ALL_FRAMES,
        )
        for warning in target.warnings:
            session.reporter.warn(warning)
        form = form_of(target, numbered=numbered, transparent=transparent)
        plate = _background_image(background)

        def work(item: Item) -> Outcome:
            done = repose_item(
                reposer, item.payload, target, out, form, background=plate, progress=session.reporter.step
            )
            for warning in done.warnings:
                session.reporter.warn(f"{item.name}: {warning}")
            details = {
                "poses": len(target),
                "seen": done.visible_fraction,
                "method": ", ".join(sorted({*done.methods})),
            }
            return Outcome(done.outputs, {**details, "warnings": list(done.warnings)})

        items = [item_of(source, repose_outputs(source, out, form, len(target))) for source in found]
        recorded = {**asdict(options), **_recorded(target_pose, skeleton, axes, frames, background, form)}
        recorded["fit"] = reposer.fitter.identity
        recorded["weights"] = reposer.network_identity
        batch = flags.batch(session, out, recorded)
        return run_items(items, work, batch, progress=session.reporter, stop=session.stop)


def _background_image(background: str) -> Any:
    """(H, W, 3) uint8 where a file is named, else None."""
    if background in ("keep", "transparent"):
        return None
    from humanpose_cli.io.images import read_image

    return read_image(background).pixels


def _recorded(
    target_pose: Path,
    skeleton: SkeletonName | None,
    axes: Axes | None,
    frames: Any,
    background: str,
    form: str,
) -> dict[str, Any]:
    """What decides the result beside the options: the target and the background by their contents."""
    from humanpose_cli.io.digests import file_digest

    return {
        "target": file_digest(target_pose),
        "skeleton": skeleton,
        "axes": axes,
        "frames": str(frames or ":"),
        "plate": background if background in ("keep", "transparent") else file_digest(Path(background)),
        "form": form,
    }
