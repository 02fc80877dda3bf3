"""Options that several commands share, and functions that declare and check options.

A command declares them as parameters: `def fit(session, inputs: Inputs, out: Out = Path("hpc-out/fit"),
device: Device = "auto", …)`. `cli.command` adds the options of every command.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from humanpose_cli.batch.items import Item, Shard
from humanpose_cli.body.model_files import check_body, prior_file
from humanpose_cli.core.device import ComputeOptions, Precision, parse_device, usable_cores
from humanpose_cli.core.errors import HpcError, InputError, UsageError
from humanpose_cli.core.options import Options, infos
from humanpose_cli.files.sniffing import check_readable
from humanpose_cli.fitting.options import OverlayLabels, SurfaceFiles
from humanpose_cli.io.colours import named_colour
from humanpose_cli.io.frame_range import FrameRange, parse_frame_range

if TYPE_CHECKING:
    from humanpose_cli.batch.batch import Batch
    from humanpose_cli.batch.runner import Outcome
    from humanpose_cli.cli.session import Session
    from humanpose_cli.core.result import CommandResult
    from humanpose_cli.io.inputs import Inputs as FoundInputs
    from humanpose_cli.outputs.ledger import Entry


def use_threads(count: int | None) -> int:
    """Set the number of threads of numerical libraries.

    Call it before the first import of torch or numpy, whose thread pools read the environment once.

    Args:
        count: Number of threads. None uses every core that this process may use.

    Returns:
        The number of threads.
    """
    threads = count or usable_cores()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    return threads


def check_values(values: Mapping[str, Any]) -> None:
    """Check the values of any command's options.

    Args:
        values: Values by the name of the option.

    Raises:
        InputError: If a file is missing, cannot be read, or is a pipe or a device.
        UsageError: If a number is not finite.
    """
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(name, "is out of range", expected="a finite number", got=str(value))
        if isinstance(value, str) and value:
            _check_file_in_text(name, value)
        elif name not in ("out", "runs", "items"):  # outputs may be missing; a list may come from a pipe
            _check_files(
                name, [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, Path)]
            )


# Option → values that are no files, and their description
_NO_FILES = {
    "texture": (("frames", "none"), "an image file, frames or none"),
    "background": (("keep", "transparent"), "an image file, keep, transparent, or a colour such as white or #20ff40"),
}


def _check_file_in_text(name: str, text: str) -> None:
    if name == "body":
        check_body(text)
    elif name == "prior":
        prior_file(text)
    elif name in ("weights", "segmenter"):
        from humanpose_cli.networks.weights import find_weights

        find_weights(text)
    elif name == "rig" and "." in text:
        check_readable(text)
    elif name in _NO_FILES and text not in _NO_FILES[name][0] and not (name == "background" and named_colour(text)):
        if not Path(text).suffix and not os.path.lexists(text):
            raise UsageError(name, "is unknown", expected=_NO_FILES[name][1], got=repr(text))
        check_readable(text)


def _check_files(name: str, paths: Sequence[Path]) -> None:
    problems = []
    for path in paths:
        try:
            if "%" not in path.name:  # a pattern of numbered files
                check_readable(path)
        except HpcError as error:
            problems.append(error)
    if problems and (name != "fits" or len(problems) == len(paths)):  # each of several fits has its own result
        raise problems[0]


def option(flag: str, text: str, panel: str | None = None, **settings: Any) -> Any:
    """Declare an option of a command.

    Args:
        flag: Flags and the name of the value, such as "--count N" or "--out -o FOLDER"; a switch has no value.
        text: Help text: one sentence of at most 25 words, and a short default.
        panel: Heading in `--help-all`. None for the options of a single command.
        **settings: Arguments of `typer.Option`.
    """
    names = [part for part in flag.split() if part.startswith("-")]
    metavar = " ".join(flag.split()[len(names) :]) or None
    return typer.Option(*names, metavar=metavar, help=text, rich_help_panel=panel, **settings)


def argument(metavar: str, text: str, **settings: Any) -> Any:
    """Declare an argument of a command with its help text."""
    return typer.Argument(metavar=metavar, help=text, show_default=False, **settings)


class Flags:
    """Names the fields of an options class that a command has flags for.

    A parameter `fitting: Annotated[FitOptions, Flags("body network.weights")]` receives the complete options. The
    flag of a nested field is its last name.
    """

    def __init__(self, names: str) -> None:
        self.names = names.split()


_ARGUMENT = re.compile(r"`([a-z]\w*)(?:=([^`]*))?`")


def of(kind: type[Options], name: str, panel: str | None = None, **settings: Any) -> Any:
    """Declare the option of a command for a field of an options class, which declares its meaning and range."""
    info = infos(kind)[name]
    field = kind.__dataclass_fields__[name]  # type: ignore[attr-defined]
    flag = "--" + name.replace("_", "-")
    if "bool" in field.type and field.default is not False:
        flag += f"/--no-{flag[2:]}"

    def as_flag(argument: re.Match[str]) -> str:
        return f"--{argument[1].replace('_', '-')}{f' {argument[2]}' if argument[2] else ''}"

    value = info.value or info.unit.upper()
    # typer checks the minimum and maximum, and shows them; the name of the value is the unit
    text = _ARGUMENT.sub(as_flag, replace(info, unit="", minimum=None, maximum=None, above=None).help)
    bounds = {"min": info.minimum, "max": info.maximum}
    return option(f"{flag} {value}", text, panel, show_default=not info.unset, **bounds, **settings)


# Headings of options that many commands share: `--help-all` shows them, `--help` only the options that a command names.
FILES = "Files"
RERUNS = "Reruns"
MACHINE = "Machine"
CLUSTER = "Cluster"
OUTPUT = "Output"
SETTINGS = "Settings"
HELP = "Help"
SHARED_HEADINGS = (FILES, RERUNS, MACHINE, CLUSTER, OUTPUT, SETTINGS, HELP)

Inputs = Annotated[
    list[str] | None,
    argument("INPUT", "Images, videos, folders or patterns (*.jpg, f_%04d.png); - reads a list of paths from stdin."),
]


def _out(value: str | Path) -> Path:
    """Refuse an empty path, as from a shell variable that is not set; it would mean the current folder."""
    if not str(value).strip():
        raise UsageError("out", "is empty", expected="a path", remedy="`.` is the current folder")
    return Path(value)


def out_option(flag: str, text: str, panel: str | None = None, **settings: Any) -> Any:
    """Declare `--out`, which refuses an empty path."""
    return option(flag, text, panel, parser=_out, **settings)


Out = Annotated[Path, out_option("--out -o FOLDER", "Folder for the results, which mirrors the input tree.", FILES)]
OutOrFile = Annotated[
    Path, out_option("--out -o FOLDER|FILE", "Folder for the results, or the file of a single result.", FILES)
]
Overwrite = Annotated[
    bool,
    option("--overwrite", "Also replace files that you made or changed.", RERUNS),
]
Resume = Annotated[
    bool, option("--resume/--no-resume", "Skip items that an earlier run finished with the same options.", RERUNS)
]
RetryFailed = Annotated[bool, option("--retry-failed", "Try items again that failed in an earlier run.", RERUNS)]
VerifyInputs = Annotated[
    bool, option("--verify-inputs", "Compare inputs by checksum. Default: by size and time.", RERUNS)
]
ColourSpaceFlag = Annotated[
    Literal["acescg", "linear", "srgb", "log"] | None,
    option("--colour-space NAME", "Colour space of images. Default: the one in the file; EXR is linear."),
]
_TIMEOUT = option("--item-timeout SECONDS", "Let an item fail that takes longer. Default: no limit.", RERUNS, min=0.001)
ItemTimeout = Annotated[float | None, _TIMEOUT]
DryRun = Annotated[bool, option("--dry-run", "Show what would be done without doing it.", RERUNS)]
ItemList = Annotated[
    Path | None,
    option(
        "--items FILE|-",
        "File with further inputs, one per line or from find -print0; - is stdin. Default: none.",
        FILES,
    ),
]
Device = Annotated[str, of(ComputeOptions, "device", MACHINE, parser=parse_device)]
PrecisionOption = Annotated[Precision, of(ComputeOptions, "precision", MACHINE)]
Threads = Annotated[int | None, option("--threads N", "Number of CPU threads. Default: all cores.", MACHINE, min=1)]
BatchSize = Annotated[int | None, of(ComputeOptions, "batch_size", MACHINE)]


@dataclass(frozen=True)
class ComputeFlags:
    """Options of the device; their names are arguments of `Fitter`, `Refiner` and `Reposer`."""

    batch_size: BatchSize = None
    device: Device = "auto"
    precision: PrecisionOption = "auto"
    threads: Threads = None


ShardOption = Annotated[
    Shard | None,
    option(
        "--shard i/N",
        "Process part i of N, counted from 0, in this process. Default: everything.",
        MACHINE,
        parser=Shard.parse,
    ),
]
Frames = Annotated[
    FrameRange | None,
    option(
        "--frames A:B:STEP",
        "Frames A to B-1 of each sequence, every STEP-th; negative numbers count from the end, 0.5s is a time. "
        "Default: all.",
        FILES,
        parser=parse_frame_range,
    ),
]
VideoCodecOption = Annotated[
    Literal["h264", "vp9"],
    option(
        "--video-codec", "Codec of videos: h264 plays everywhere (x264, GPL), vp9 in browsers (libvpx, BSD).", FILES
    ),
]
Overlay = Annotated[bool, option("--overlay/--no-overlay", "Draw the bodies over the images.")]
FailIfDoubtful = Annotated[
    bool, option("--fail-if-doubtful", "Exit with code 4 if a result is doubtful; its files are still written.")
]
Labels = Annotated[
    OverlayLabels,
    option("--labels", "Text on the overlay: ids (people's numbers, ? if doubtful), reasons (also why), or none."),
]


@dataclass(frozen=True)
class OverlayFlags:
    """Options of overlays; their names are fields of `FitOutputs`."""

    overlay: Overlay = True
    labels: Labels = "ids"
    video_codec: VideoCodecOption = "h264"


Seed = Annotated[int, option("--seed N", "Seed of all random choices.", min=0)]

FitFiles = Annotated[
    list[Path] | None,
    argument("FITS...", "Fit files, folders of them, or results of other programs that hpc refine reads."),
]
FramesOfFits = Annotated[
    list[str] | None,
    option(
        "--frames INPUT",
        "Files that the fits were made from; may be repeated. Default: those that the fits name.",
    ),
]
FitTextures = Annotated[
    str | None,
    option(
        "--texture FILE|frames|none",
        "Texture (PNG file or folder), frames (from the frames, with clothes), or none (one colour). Default: frames "
        "if available, else the stored textures.",
    ),
]
FitCamera = Annotated[
    Path | None,
    option(
        "--camera FILE",
        "Camera of an AMASS file: the fit it was exported from, or .npz with focal and world_to_camera. Default: none.",
    ),
]
FitSmplx = Annotated[
    Path | None,
    option("--model FILE", "SMPL-X model file, needed for results of GVHMR. Default: none.", show_default=False),
]
PersonTexture = Annotated[
    Path | None,
    option(
        "--texture FILE",
        "Texture of the person (PNG), or the folder of an earlier run. Default: made from the frames.",
    ),
]
DensePose = Annotated[Path | None, of(SurfaceFiles, "densepose")]
DensePoseCharts = Annotated[Path | None, of(SurfaceFiles, "charts")]


def body_option(text: str) -> Any:
    """Declare `--body` with the meaning of the body in a command."""
    return option("--body default|smpl:FILE", f"{text}: default, smpl:FILE, smplh:FILE or smplx:FILE.")


BodyOfFits = Annotated[str, body_option("Body model of the fits")]


def read_items(items: Path) -> list[str]:
    """Read the paths of --items FILE|-."""
    import sys

    from humanpose_cli.files.text_files import read_list

    return read_list(sys.stdin if str(items) == "-" else items)


_OF_BATCHES = (
    "resume",
    "retry_failed",
    "overwrite",
    "verify_inputs",
    "dry_run",
    "item_timeout",
)  # flags that are fields of `Batch`


@dataclass(frozen=True)
class BatchFlags:
    """Options of every command that works through items, as one parameter: `flags: BatchFlags`."""

    resume: Resume = True
    retry_failed: RetryFailed = False
    overwrite: Overwrite = False
    verify_inputs: VerifyInputs = False
    shard: ShardOption = None
    dry_run: DryRun = False
    items: ItemList = None
    item_timeout: ItemTimeout = None

    def listed(self) -> list[str]:
        """Read the paths of --items."""
        return [] if self.items is None else read_items(self.items)

    def fits(self, arguments: Sequence[Path] | None) -> list[Path]:
        """Return the fit files and folders of a command.

        Args:
            arguments: Paths on the command line; the paths of --items follow them.

        Raises:
            UsageError: If there are none.
            InputError: If no path can hold fits.
        """
        from humanpose_cli.io.foreign_fits import check_fits

        paths = [*(arguments or ()), *map(Path, self.listed())]
        if not paths:
            raise UsageError("fits", "are missing", expected="fit files, folders of them, or a list with `items`")
        problems = []
        for path in filter(os.path.exists, paths):  # missing ones are reported as items
            try:
                check_fits(path)
            except InputError as error:
                problems.append(error)
        if len(problems) == len(paths):
            raise problems[0]
        return paths

    def inputs(self, session: Session, arguments: Sequence[str], out: Path, **options: Any) -> FoundInputs:
        """Find the inputs of a command, without the results of earlier runs, and report the selection.

        Args:
            session: The session, which reports.
            arguments: Paths and patterns; "-" is a list on stdin.
            out: The output folder, which is not searched.
            **options: Arguments of `open_inputs`.
        """
        import sys

        from humanpose_cli.io.inputs import OUTPUT_SUFFIXES, open_inputs
        from humanpose_cli.outputs.ledger import Ledger

        from_list = "-" in arguments or options.get("listed")
        folder = out.resolve()
        exclude = [] if from_list and out.is_file() else [out]  # a file on a list is an input, which is not replaced
        if from_list or any(folder in (path := Path(argument).resolve(), *path.parents) for argument in arguments):
            exclude += [out / output for entry in Ledger(out).entries.values() for output in entry.outputs]
        input_set = open_inputs(arguments, sys.stdin, exclude=exclude, output_suffixes=OUTPUT_SUFFIXES, **options)
        for message in input_set.messages:
            session.reporter.info(message)
        return input_set

    def run(
        self,
        session: Session,
        items: Sequence[Item],
        work: Callable[[Item], Outcome],
        out: Path,
        options: Mapping[str, Any],
        recall: Callable[[Item, Entry], Mapping[str, Any]] | None = None,
        **fields: Any,
    ) -> CommandResult:
        """Run the items. If `out` is the single output file, no ledger is written.

        Args:
            session: The session.
            items: The items.
            work: Processes one item.
            out: The output folder or file.
            options: JSON values of everything that determines a result.
            recall: Returns the details of an item that an earlier run finished.
            **fields: Further fields of `batch.batch.Batch`, such as `prepare`.
        """
        from tempfile import TemporaryDirectory

        from humanpose_cli.batch.runner import run_items
        from humanpose_cli.outputs.atomic import remove_abandoned
        from humanpose_cli.outputs.ledger import Ledger, claim, recorded
        from humanpose_cli.outputs.protection import refuse_input

        for item in items:
            for output in item.outputs:
                refuse_input(output)
        batch = replace(
            self.batch(session, out, options, recall),
            prepares=lambda item: item.error is None and not item.payload.is_sequence,
            **fields,
        )
        if not any(out in item.outputs for item in items):
            if out.is_file():
                raise UsageError(str(out), "is a file, not a folder", remedy="choose another `out`")
            return run_items(items, work, batch, progress=session.reporter, stop=session.stop)
        if len(items) > 1:
            raise UsageError("out", f"is one file for {len(items)} inputs", got=str(out), remedy="name a folder")
        with TemporaryDirectory() as scratch, recorded(Ledger(out.parent, overwrite=self.overwrite)):
            for output in items[0].outputs:
                claim(output)
                remove_abandoned(output)
            if out.exists():
                session.reporter.info(f"{out}: written again")
            batch = replace(batch, out=Path(scratch))
            return run_items(items, work, batch, progress=session.reporter, stop=session.stop)

    def batch(
        self,
        session: Session,
        out: Path,
        options: Mapping[str, Any],
        recall: Callable[[Item, Entry], Mapping[str, Any]] | None = None,
    ) -> Batch:
        """Build the batch that runs the items of this command."""
        from humanpose_cli.batch.batch import Batch
        from humanpose_cli.batch.items import UNSHARDED

        return Batch(
            session.command,
            out,
            options,
            shard=self.shard or UNSHARDED,
            recall=recall,
            arguments=session.arguments,
            **{name: getattr(self, name) for name in _OF_BATCHES},
        )
