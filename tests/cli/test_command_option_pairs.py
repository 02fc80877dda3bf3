"""All pairs of options of `hpc fit`, `combine`, `refine` and `repose`: each option of a pair is used, or it is refused.

The options are those of the Typer commands. What a command would do is recorded where it leaves the command line: what
fits, refines and draws, with which arguments, and the files that are read and written. An option is used together with
another one if the record is another one without it.
"""

from __future__ import annotations

import functools
import itertools
import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import numpy as np
import pytest
import torch
from helpers.fit_values import record

import humanpose_cli.body.smpl
import humanpose_cli.fitting.fit_reading
import humanpose_cli.fitting.fitter
import humanpose_cli.io.calibrations
import humanpose_cli.networks.weights
import humanpose_cli.refining.correspondences
import humanpose_cli.refining.refiner
import humanpose_cli.reposing.reposer
import humanpose_cli.views.inputs
from humanpose_cli.body.body import default_body
from humanpose_cli.cli import cluster, combine, options, repose
from humanpose_cli.cli.command import Invocation, build_command
from humanpose_cli.cli.fit_work import FitWork
from humanpose_cli.cli.options import BatchFlags
from humanpose_cli.cli.repose import ReposeWork
from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import no_progress
from humanpose_cli.core.result import CommandResult, Status
from humanpose_cli.io.fit_files import write_fit
from humanpose_cli.io.fit_options import StoredOptions
from humanpose_cli.io.images import write_image
from humanpose_cli.refining.refiner import Refiner
from humanpose_cli.refining.steps import Refinement
from humanpose_cli.reposing.reposer import Reposer

PANELS = ("Output", "Settings", "Help")  # how the result is printed, other ways to give the same options, and help
BASE = {
    "fit": "photos",
    "combine": "photos/a.png photos/b.png",
    "refine": "fit.fit.npz --frames photos",
    "repose": "photos/a.png --target-pose pose.npy",
}
SAMPLES = {  # for options that are no switch, choice or number, and for those that need others, which stand before
    "--body": "smpl:body.npz",
    "--boxes": "some.json",
    "--calibration": "cameras.toml",
    "--camera": "camera.npz",
    "--canvas": "fit",
    "--background": "transparent",
    "--charts": "--densepose uv.npz --charts charts.mat",
    "--cluster-set": "--cluster slurm --cluster-set time=5",
    "--colour-space": "linear",
    "--densepose": "uv.npz",
    "--device": "cpu",
    "--fit": "fit.fit.npz",
    "--frames": "0:2",
    "--height": "1.7",
    "--input": "photos/b.png",
    "--items": "more.txt",
    "--keypoints": "some.json",
    "--mask": "masks",
    "--offsets": "0,0.1",
    "--out": "other",
    "--person": "0",
    "--pose-model": "net.onnx",
    "--prior": "none",
    "--shard": "0/2",
    "--shards": "--cluster slurm --shards 2",
    "--skeleton": "smpl24",
    "--model": "body.npz",
    "--target-person": "--target-pose fit.fit.npz --target-person all",
    "--target-pose": "other.npy",
    "--texture": "texture.png",
    "--wears": "shoes,gloves",
    "--wait": "--cluster slurm --wait",
    "--weights": "nbf-proxy",
}
OF_COMMAND: dict[str, dict[str, str]] = {
    "fit": {"--camera": "still", "--method": "nbf"},
    "combine": {},
    "refine": {
        "--correspondence": "keypoints",
        "--frames": "photos/b.png",
        "--preset": "--correspondence keypoints --preset paper",
        "--save-displacements": "--correspondence flow --save-displacements",
        "--texture": "--correspondence flow --texture texture.png",
        "--weights": "--correspondence network --weights lifter",
    },
    "repose": {"--method": "warp3d", "--video": "", "--weights": "--method warp3d --weights lifter"},
}
REDUNDANT = [
    {"--numbered", "--background"}  # transparent images are numbered
]
REFUSED = "refused"
Sample = tuple[str, list[str], list[str]]  # name of the parameter, what it needs, and itself


def samples_of(command: str) -> list[Sample]:
    """One value other than the default for each option, two for those that have a flag for each answer."""
    samples = []
    for parameter in build_command(command, lambda _: 0).params:
        if parameter.param_type_name != "option" or getattr(parameter, "rich_help_panel", None) in PANELS:
            continue
        name, flag = str(parameter.name), next(opt for opt in parameter.opts if opt.startswith("--"))
        kind = parameter.type_descriptor.annotation  # type: ignore[attr-defined]
        flags = [flag, *parameter.secondary_opts] if parameter.secondary_opts else [flag]
        if parameter.default is True:
            flags.remove(flag)
        for each in flags:
            line = {**SAMPLES, **OF_COMMAND[command]}.get(each)
            if line is None and getattr(parameter, "is_flag", False):
                line = each
            if line is None and (
                choices := [c for c in get_args(kind) if isinstance(c, str) and c != parameter.default]
            ):
                line = choices[-1]
            line = number_of(parameter) if line is None else line
            assert line is not None, f"{command} {each} needs a sample"
            if not line:  # the default in other words
                continue
            tokens = line.split() if each in line.split() else [each, *line.split()]
            samples.append((name, tokens[: tokens.index(each)], tokens[tokens.index(each) :]))
    return samples


def number_of(parameter: Any) -> str | None:
    """A number in the range of an option; None for options of other types."""
    if parameter.type_descriptor.annotation not in (int, float):
        return None
    return "64" if parameter.max is None else f"{(parameter.min + parameter.max) / 2:g}"


class Recorded(BaseException):
    """Ends a command where its work would begin."""

    def __init__(self, *effects: Any) -> None:
        self.effects = effects


class FakeFitter:
    def __init__(self, *options: Any, **more: Any) -> None:
        self.arguments = options, more
        self.identity = dict.fromkeys(("network", "body", "detector", "focal"), "")

    def __enter__(self) -> FakeFitter:
        return self

    def __exit__(self, *problem: object) -> None:
        pass

    def begin_loading(self) -> None:
        pass

    def fit(self, item: Any, **_: Any) -> Any:
        return self.arguments


def noting(kind: type) -> type:
    """The class, whose instances know their arguments."""

    def noted(self: Any, *options: Any, **more: Any) -> None:
        self.arguments = options, more
        kind.__init__(self, *options, **more)  # type: ignore[misc]

    functools.update_wrapper(noted, kind.__init__)  # type: ignore[misc]
    return type(f"Noting{kind.__name__}", (kind,), {"__init__": noted})


def inputs_of(payload: Any) -> Any:
    parts = payload[1] if isinstance(payload, tuple) else getattr(payload, "views", [payload])
    return [(each.label, each.is_sequence, str(each.range)) for each in parts], getattr(payload, "fits", ())


def step_effects(step: Any) -> Any:
    """The arguments of a step; a texture only if the step draws one."""
    if not isinstance(step, Refinement):
        return repr(step)
    texture = step.texture if step.refiner.needs_textures else None
    return cast(Any, step.refiner).arguments, texture, step.displacement_frames


def effects_of(work: Any, items: Any) -> Any:
    if isinstance(work, FitWork):
        fits = work.read(items[0], no_progress)
        steps = [step_effects(step) for step in work.steps(items[0])]
        drawn = work.outputs if work.outputs.overlay else None
        return fits, steps, drawn, work.fail_if_doubtful
    assert isinstance(work, ReposeWork)
    (options,), more = cast(Any, work.reposer).arguments
    drawing = {**asdict(options), "fit": asdict(options.fit) if work.fitted is None else None}
    codec = work.video_codec if work.form == "video" else None
    fitted = None if work.fitted is None else len(work.fitted)
    return drawing, more, codec, work.form, fitted, work.fail_if_doubtful, len(work.target)


def write_inputs(folder: Path) -> None:
    for name in ("photos/a.png", "photos/b.png", "more.png"):
        write_image(folder / name, np.zeros((64, 48, 3), np.uint8))
    write_fit(folder / "fit.fit.npz", record())
    joints = default_body().rest(torch.zeros(1, 10)).joints.numpy()[0]
    for name, count in (("pose.npy", 4), ("other.npy", 3)):
        np.save(folder / name, np.repeat(joints[None], count, 0))
    (folder / "more.txt").write_text("more.png")
    people = [{"image_id": f"{name}.png", "keypoints": [9.0, 9.0, 0.9] * 17, "bbox": [1, 2, 30, 40]} for name in "ab"]
    (folder / "some.json").write_text(json.dumps(people))
    for name in ("net.onnx", "uv.npz", "charts.mat", "cameras.toml", "camera.npz", "body.npz"):
        (folder / name).write_bytes(b"x")
    (folder / "masks").mkdir()
    for name in ("texture.png", "masks/a.png", "masks/b.png"):
        (folder / name).write_bytes(b"x")


class CommandLine:
    """What a command line does, or REFUSED.

    asked  which inputs the command that runs has looked for
    """

    def __init__(self, calls: list[Any]) -> None:
        self.calls, self.results, self.commands = calls, dict[tuple[str, ...], str](), dict[str, Any]()
        self.reporter: Any = SimpleNamespace()
        for name in ("start", "item_started", "finish", "item_finished", "info", "warn", "step"):
            setattr(self.reporter, name, lambda *_, **__: None)

    def __call__(self, command: str, tokens: list[str]) -> str:
        line = (command, *tokens)
        if line not in self.results:
            built = self.commands.setdefault(command, build_command(command, self.carry_out))
            self.calls.clear()
            try:
                built.main([*BASE[command].split(), *tokens], prog_name=f"hpc {command}", standalone_mode=False)
            except UsageError:
                self.results[line] = REFUSED
            except Recorded as done:
                self.results[line] = repr(done.effects)
        return self.results[line]

    def carry_out(self, invocation: Invocation) -> int:
        session = Session(invocation.name, self.reporter, cast(Any, SimpleNamespace(has_begun=False)))
        flags: Any = invocation.cluster
        submitted = flags if flags.cluster != "local" else None
        if submitted:
            cluster.check_submission(session, flags, invocation.values, invocation.info.cluster)
            if not cast(BatchFlags, invocation.values["flags"]).dry_run:
                raise Recorded(flags, invocation.values)
        try:
            invocation.function(session, **invocation.values)
        except Recorded as done:
            raise Recorded(*done.effects, submitted) from None
        raise AssertionError("a command did not come to its work")


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    calls: list[Any] = []
    inputs, pose_of_file = BatchFlags.inputs, repose._pose_of_file

    def noted_pose(*values: Any) -> Any:
        calls.append(values)
        return pose_of_file(*values)

    def noted(flags: BatchFlags, session: Any, arguments: Any, out: Path, **options: Any) -> Any:
        calls.append((list(arguments), options))
        return inputs(flags, session, arguments, out, **options)

    def run(flags: BatchFlags, session: Any, items: Any, work: Any, out: Path, options: Any, *_: Any, **__: Any) -> Any:
        each = [(item.key, [str(path) for path in item.outputs], inputs_of(item.payload)) for item in items]
        planned = options if flags.dry_run else None
        raise Recorded(vars(flags), out, each, effects_of(work, items) if items else None, planned, list(calls))

    def noted_fits(run: Any, sources: Any, out: Path) -> Any:
        calls.append(([(each.key, str(each.range)) for each in sources], run.options, vars(run.compute)))
        return CommandResult("combine", Status.SUCCESS)

    def noted_read(task: Any, *arguments: Any, **more: Any) -> Any:
        calls.append((arguments, more))
        return SimpleNamespace(options=StoredOptions(), views=None, cameras=("only",))

    network = SimpleNamespace(precision="full", config=SimpleNamespace())
    for owner, name, value in (
        (BatchFlags, "inputs", noted),
        (BatchFlags, "run", run),
        (humanpose_cli.fitting.fitter, "Fitter", FakeFitter),
        (humanpose_cli.reposing.reposer, "Fitter", FakeFitter),
        (humanpose_cli.refining.refiner, "Refiner", noting(Refiner)),
        (humanpose_cli.reposing.reposer, "Reposer", noting(Reposer)),
        (humanpose_cli.refining.refiner, "find_weights", Path),
        (humanpose_cli.refining.refiner, "digest_of", str),
        (humanpose_cli.refining.refiner.DisplacementPredictor, "load", lambda *_: network),
        (humanpose_cli.reposing.reposer, "find_weights", Path),
        (humanpose_cli.reposing.reposer, "digest_of", str),
        (humanpose_cli.reposing.reposer, "load_warp3d", lambda *_: network),
        (humanpose_cli.reposing.reposer, "_refuse_untrained", lambda *_: None),
        (humanpose_cli.networks.weights, "find_weights", Path),
        (humanpose_cli.io.calibrations, "read_calibration", Path),
        (humanpose_cli.views.inputs, "separate_takes", lambda take, _: [take]),
        (humanpose_cli.views.inputs, "check_take", lambda *_: []),
        (combine, "FitRun", type("NotedFits", (combine.FitRun,), {"run": noted_fits})),
        (humanpose_cli.cli.fit, "_MIN_GPU_PHOTOGRAPHS", 0),
        (options, "check_body", str),
        (options, "check_readable", str),
        (combine._Takes, "read", lambda takes, take, **more: more),
        (combine._Takes, "fits", lambda takes, take: take.fits),
        (combine._Takes, "shared_calibration", property(lambda takes: f"of {takes.flags.height}")),
        (humanpose_cli.fitting.fit_reading, "read_fits", noted_read),
        (humanpose_cli.refining.correspondences, "charted_points", lambda *files: files),
        (humanpose_cli.body.smpl, "load_body", str),
        (repose, "_pose_of_file", noted_pose),
    ):
        monkeypatch.setattr(owner, name, value)
    return CommandLine(calls)


@pytest.mark.extensive
@pytest.mark.parametrize("command", list(BASE))
def test_each_option_of_a_pair_is_used_or_refused(command: str, effects: CommandLine) -> None:
    dropped, samples = [], samples_of(command)
    for one, other in itertools.combinations(samples, 2):
        if one[0] == other[0] or {one[2][0], other[2][0]} in REDUNDANT:
            continue
        needed = [*one[1], *other[1]]
        both = effects(command, [*needed, *one[2], *other[2]])
        if both == REFUSED:
            continue
        for kept, left_out in ((one, other), (other, one)):
            if set(left_out[2]) <= set(needed):
                continue  # the other one needs it
            if effects(command, [*needed, *kept[2]]) == both:
                dropped.append(f"{' '.join(left_out[2])} with {' '.join([*needed, *kept[2]])}")
    assert not dropped, "\n".join(dropped)


@pytest.mark.extensive
def test_every_option_is_used_alone_or_with_what_it_needs(effects: CommandLine) -> None:
    """Else the walk above would find it dropped beside each other one, or refused for its sample's sake."""
    for command in BASE:
        for _, needed, arguments in samples_of(command):
            assert effects(command, [*needed, *arguments]) not in (REFUSED, effects(command, needed)), arguments
            assert effects(command, arguments) != effects(command, []), arguments
