"""`hpc view`: fits in 3-D as HTML pages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from humanpose_cli.cli.fit_inputs import TEXTURED, FitInputs
from humanpose_cli.cli.options import BatchFlags, OutOrFile, VideoCodecOption, option
from humanpose_cli.cli.session import Session, command
from humanpose_cli.core.result import CommandResult

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item

_EDIT = option("--edit", "Write NAME.edit.html instead, on which detected joints are corrected by hand.")


@command(
    columns=(
        ("people", "people", "Number of people."),
        ("frames", "frames", "Number of frames."),
        ("megabytes", "MB", "Size of the page in MB (10⁶ bytes)."),
    ),
    usual="--out --frames --edit --person --texture --body --overwrite",
    examples=(
        "hpc view hpc-out/fit",
        "hpc view hpc-out/fit/photo.jpg.fit.npz",
        "hpc view hpc-out/fit/clip.mp4.fit.npz --texture frames --out clip.html",
    ),
)
def view(
    session: Session,
    flags: BatchFlags,
    inputs: FitInputs,
    edit: Annotated[bool, _EDIT] = False,
    out: OutOrFile = Path("hpc-out/view"),
    video_codec: VideoCodecOption = "h264",
) -> CommandResult:
    """Show fits in 3-D, with their frames, on a page for the browser.

    Writes NAME.html for each fit file, and NAME.refined.html for a refined one: a file that works offline and can be
    sent by mail.

    Turn the view with the mouse, switch people on and off, play, step with the arrow keys, or look through the camera.
    With --edit, drag joints in the frames and save them for `hpc fit --keypoints` or `hpc refine --keypoints`.
    """
    input_set = inputs.find(session, flags, out)

    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.core.progress import part_of
    from humanpose_cli.exporting.editing import edit_page
    from humanpose_cli.exporting.viewing import view as view_page
    from humanpose_cli.outputs.output_names import FIT_SUFFIX

    def pages(name: str) -> list[Path]:
        is_page_name = out.suffix.lower() == ".html" and not out.is_dir()
        return [out if is_page_name else out / f"{name.removesuffix(FIT_SUFFIX)}{'.edit' * edit}.html"]

    def work(item: Item) -> Outcome:
        fit, images, textures = inputs.read(session, item, with_looks=not edit)
        title = item.key.removesuffix(" to edit").removesuffix(FIT_SUFFIX)
        step = part_of(session.reporter.step, TEXTURED, 1)
        if edit:
            page = edit_page(fit, images, title=title, video_codec=video_codec, progress=step)
        else:
            page = view_page(fit, images, title=title, textures=textures, video_codec=video_codec, progress=step)
        byte_count = page.save(item.outputs[0])
        size = byte_count.stat().st_size / 1e6
        return Outcome((byte_count,), {"people": len(fit.tracks), "frames": fit.frame_count, "megabytes": size})

    items = inputs.items(*input_set, pages)
    items = [replace(item, key=f"{item.key} to edit") for item in items] if edit else items  # both pages stay
    options_record = {"frames": bool(inputs.frames), "edit": edit, "video_codec": video_codec, **inputs.identity()}
    return flags.run(session, items, work, out, options_record)
