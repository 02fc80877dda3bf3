"""Options without effect beside others: the same rules for commands and for `hp.fit` and `hp.refine`."""

import pytest

import humanpose_cli as hp
from humanpose_cli.cli.command import build_command
from humanpose_cli.core import option_rules
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.option_rules import check_options

DEFAULTS = {"views": False, "sequence": None, "overlay": True, "labels": "ids", "cluster": "local", "shards": 1}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"views": True, "sequence": False}, "sequence: cannot be combined with `views`"),
        ({"overlay": False, "labels": "none"}, "labels: has no effect without `overlay`"),
        ({"shards": 4}, "shards: has no effect without `cluster=slurm`"),
        ({"shards": 4, "cluster": "slurm"}, ""),
        ({"sequence": True, "labels": "none"}, ""),
        ({"views": True, "overlay": False}, ""),
    ],
)
def test_an_option_without_effect_is_refused(given, message):
    if not message:
        check_options({**DEFAULTS, **given}, DEFAULTS)
        return
    with pytest.raises(UsageError, match=f"^{message}$"):
        check_options({**DEFAULTS, **given}, DEFAULTS)


def test_every_rule_is_about_options_of_a_command():
    names = [{str(p.name) for p in build_command(command, lambda _: 0).params} for command in ("fit", "refine")]
    rules = [*option_rules._NEEDED.items(), *option_rules._EXCLUDED.items()]
    pairs = [(option.partition("=")[0], other) for option, others in rules for other in others]
    for pair in pairs:
        assert any(set(pair) <= options for options in names), pair


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"views": True, "sequence": False}, "sequence: cannot be combined with `views`"),
        ({"views": True, "people": "largest"}, "people: cannot be combined with `views`"),
        ({"views": True, "calibration": "c.toml", "height": 1.8}, "height: cannot be combined with `calibration`"),
        ({"views": True, "calibration": "c.toml", "focal": 900.0}, "focal: cannot be combined with `calibration`"),
        ({"offsets": [0, 1]}, "offsets: has no effect without `views`"),
        ({"prior": "none"}, "prior: has no effect without `refine`"),
        ({"boxes": "a.json", "keypoints": "b.json"}, "boxes: cannot be combined with `keypoints`"),
        ({"charts": "UV_Processed.mat"}, "charts: has no effect without `densepose`"),
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
