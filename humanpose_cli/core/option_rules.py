"""Rules about pairs of options for commands, `hp.fit` and `hp.refine`, which have the same names of options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from humanpose_cli.core.errors import UsageError

# Option, or its value → options that have no effect without it; a|b: without either.
_NEEDED = {
    "save_displacements": ("displacement_frames",),
    "body=default": ("hands",),  # only this body has fingers
    "overlay": ("labels",),
    "overlay|masks": ("video_codec", "numbered"),
    "densepose": ("charts",),
    "keypoints|boxes": ("min_score",),
    "cluster=slurm": ("cluster_set", "wait"),
    "cluster=slurm|print": ("shards",),
}
# Option → options that cannot be combined with it.
_EXCLUDED = {
    "calibration": ("same_cameras", "focal"),
    "keypoints": ("boxes", "pose_model"),
}


def check_options(values: Mapping[str, Any], defaults: Mapping[str, Any] | None) -> None:
    """Raise UsageError for an option that has no effect because of another option."""
    usual = {name: default for name, default in (defaults or {}).items() if name in values}
    changed_options = {
        n for n, default in usual.items() if values[n] is not default and (default is None or values[n] != default)
    }
    for option, names_of_group in _NEEDED.items():
        names, _, value = option.partition("=")
        known = [n for n in names.split("|") if n in values]
        needed = value.split("|")
        missing = bool(known) and all(
            str(getattr(values[n], "name", values[n])) not in needed if value else not values[n] for n in known
        )
        parts = [f"{names}={each}" for each in needed] if value else names.split("|")
        for name in sorted(changed_options.intersection(names_of_group)) if missing else ():
            raise UsageError(name, f"has no effect without {' or '.join(f'`{part}`' for part in parts)}")
    for option, names_of_group in _EXCLUDED.items():
        for name in sorted(changed_options.intersection(names_of_group)) if values.get(option) else ():
            raise UsageError(name, f"cannot be combined with `{option}`")
