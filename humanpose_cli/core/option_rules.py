"""Which options have no effect without another one, or together with it: one table for the commands and for `hp.fit`
and `hp.refine`, whose arguments have the same names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from humanpose_cli.core.errors import UsageError

_NEEDS = {
    "prior": "refine",
    "save_displacements": "refine",
    "displacement_frames": "save_displacements",
    "height": "views",
    "offsets": "views",
    "calibration": "views",
    "same_cameras": "views",
    "side_view": "overlay",
    "labels": "overlay",
    "video_codec": "overlay",
    "compare": "page",
    "truth": "page",
    "charts": "densepose",
    "shards": "cluster=slurm",
    "cluster_set": "cluster=slurm",
    "wait": "cluster=slurm",
}
"""Option → the one without which, or without that value of which, it has no effect."""
_EXCLUDES = {
    "views": ("people", "sequence", "save_displacements", "side_view"),
    "calibration": ("height", "same_cameras", "focal"),
    "keypoints": ("boxes", "pose_model"),
}
"""Option → those that cannot be combined with it."""


def check_options(values: Mapping[str, Any], defaults: Mapping[str, Any] | Callable[..., Any]) -> None:
    """UsageError for an option that another one would leave without effect. Rules of other options are skipped.

    values    of options or arguments by their names
    defaults  of the same; or the function whose arguments they are
    """
    if callable(defaults):
        defaults = {name: parameter.default for name, parameter in inspect.signature(defaults).parameters.items()}

    def is_given(name: str) -> bool:
        value, default = values.get(name), defaults.get(name)
        return value is not None if default is None else value != default

    for name, needed in _NEEDS.items():
        other, _, value = needed.partition("=")
        if other in values and is_given(name) and not (values[other] == value if value else values[other]):
            raise UsageError(name, f"has no effect without `{needed}`")
    for name, others in _EXCLUDES.items():
        for other in filter(is_given, others):
            if values.get(name):
                raise UsageError(other, f"cannot be combined with `{name}`")
