"""Options without effect beside others: the same rules for commands and for `hp.fit` and `hp.refine`."""

import inspect

import pytest

import humanpose_cli as hp
from humanpose_cli.cli.command import build_command
from humanpose_cli.core import option_rules
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.option_rules import check_options

DEFAULTS = {
    "body": "default",
    "hands": True,
    "calibration": None,
    "focal": None,
    "overlay": True,
    "labels": "ids",
    "cluster": "local",
    "shards": 1,
}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "c.toml", "focal": 900.0}, "focal: cannot be combined with `calibration`"),
        ({"overlay": False, "labels": "none"}, "labels: has no effect without `overlay`"),
        ({"shards": 4}, "shards: has no effect without `cluster=slurm` or `cluster=print`"),
        ({"body": "smpl:a.npz", "hands": False}, "hands: has no effect without `body=default`"),
        ({"shards": 4, "cluster": "slurm"}, ""),
        ({"focal": 900.0, "labels": "none"}, ""),
        ({"calibration": "c.toml", "overlay": False}, ""),
    ],
)
def test_an_option_without_effect_is_refused(options, message):
    if not message:
        check_options({**DEFAULTS, **options}, DEFAULTS)
        return
    with pytest.raises(UsageError, match=f"^{message}$"):
        check_options({**DEFAULTS, **options}, DEFAULTS)


def test_every_rule_is_about_options_of_a_command():
    commands = ("fit", "combine", "refine")
    names = [{str(p.name) for p in build_command(command, lambda _: 0).params} for command in commands]
    names += [set(inspect.signature(function).parameters) for function in (hp.fit, hp.refine)]
    rules = [*option_rules._NEEDED.items(), *option_rules._EXCLUDED.items()]
    pairs = [
        (name, other) for option, others in rules for other in others for name in option.partition("=")[0].split("|")
    ]
    for pair in pairs:
        assert any(set(pair) <= options for options in names), pair


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"boxes": "a.json", "keypoints": "b.json"}, "boxes: cannot be combined with `keypoints`"),
        ({"pose_model": "a.onnx", "keypoints": "b.json"}, "pose_model: cannot be combined with `keypoints`"),
    ],
)
def test_fit_in_python_refuses_what_the_command_line_refuses(arguments, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        hp.fit("a.mp4", **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"displacement_frames": 3}, "displacement_frames: has no effect without `save_displacements`"),
        ({"charts": "UV_Processed.mat"}, "charts: has no effect without `densepose`"),
    ],
)
def test_refine_in_python_refuses_what_the_command_line_refuses(arguments, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        hp.refine("a.fit.npz", "a.mp4", **arguments)
