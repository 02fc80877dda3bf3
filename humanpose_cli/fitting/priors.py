"""Pose priors of the refinement: this package's, and mixtures from the user's files."""

from __future__ import annotations

from functools import lru_cache

from humanpose_cli.body.mixture_prior import read_mixture_prior
from humanpose_cli.body.model_files import prior_file
from humanpose_cli.body.pose_prior import JointPrior, pose_prior


def load_prior(name: str) -> JointPrior | None:
    """Load the prior 'none' (None), 'pose' or 'gmm:FILE'.

    Raises:
        UsageError: If there is no such prior.
        UnavailableError: If the file is missing.
        InputError: If the file is not such a prior.
    """
    path = prior_file(name)
    if path is None:
        return default_prior() if name == "pose" else None
    return read_mixture_prior(path)


@lru_cache(maxsize=1)
def default_prior() -> JointPrior:
    """Load this package's prior in double precision."""
    return pose_prior().double()
