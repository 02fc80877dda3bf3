"""`hpc evaluate motion`: figures of fits that need no truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from humanpose_cli.cli.options import BatchFlags, BodyOfFits, FitFiles, out_option
from humanpose_cli.cli.session import Session, command, counts
from humanpose_cli.core.result import CommandResult

if TYPE_CHECKING:
    from humanpose_cli.batch.items import Item


@command(
    columns=(
        ("people", "people", "How many move in three or more frames."),
        ("foot_slide_cm_s", "slide cm/s", "Speed of the point of the feet that should rest."),
        ("below_ground_mm", "below mm", "How far the lowest point of the feet is below the floor."),
        ("acceleration_m_s2", "acc. m/s²", "Acceleration of joints."),
        ("size_drift_percent", "size drift %", "Range of the body's size over its median."),
        ("flights", "flights", "How often someone is in the air."),
        ("flight_m_s2", "fall m/s²", "Acceleration of the centre of mass there; 9.81 is right."),
    ),
    brief=counts("people"),
    examples=(
        "hpc evaluate motion clip.mp4.fit.npz",
        "hpc evaluate motion hpc-out/fit --json",
        "hpc evaluate motion wham-results --body smpl:SMPL_NEUTRAL.pkl",
    ),
)
def motion(
    session: Session,
    flags: BatchFlags,
    fits: FitFiles = None,
    body: BodyOfFits = "default",
    out: Annotated[Path, out_option("--out FOLDER", "Folder for NAME.motion.json of each fit.")] = Path(
        "hpc-out/evaluate"
    ),
) -> CommandResult:
    """Evaluate how people of clips move, without any truth: feet, floor, accelerations, size and flights.

    Figures are means over the people of each fit file; NAME.motion.json has those of each person. They show a
    wrong camera path, feet that slide or sink, trembling bodies and people who change their size, and say nothing
    about poses that move well and are wrong.
    """
    paths = flags.fits(fits)

    from humanpose_cli.batch.items import Item
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.fitting.fit_reading import read_fits
    from humanpose_cli.fitting.options import body_identity
    from humanpose_cli.io.atomic import ensure_folder, write_json
    from humanpose_cli.io.output_names import FIT_SUFFIX
    from humanpose_cli.lab.evaluate.motion import motion_document
    from humanpose_cli.refining.items import files_of_fit, fit_files

    def work(item: Item) -> Outcome:
        document = motion_document(read_fits(item.payload, body), item.name)
        ensure_folder(item.outputs[0].parent)
        write_json(item.outputs[0], document)
        return Outcome(item.outputs, document)

    items = []
    for name, path, problem in fit_files(paths):
        outputs = (out / f"{name.removesuffix(FIT_SUFFIX)}.motion.json",)
        files = files_of_fit(path, ())
        items.append(Item(name, files, str(path), path.parent, outputs, payload=path, error=problem))
    return flags.run(session, items, work, out, {"body": body_identity(body)})
