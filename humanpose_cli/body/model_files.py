"""The files of a body and a pose prior, checked without torch, which reading them needs."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from humanpose_cli.core.errors import InputError, UnavailableError, UsageError
from humanpose_cli.files.digests import digest_of

PRIORS = "none, pose, gmm:FILE"
_MODELS = {
    "smpl": ("SMPL", "https://smpl.is.tue.mpg.de", "SMPL 1.1.0 and give its .pkl file"),
    "smplh": ("SMPL-H", "https://mano.is.tue.mpg.de", "the extended SMPL+H model and give its model.npz"),
    "smplx": ("SMPL-X", "https://smpl-x.is.tue.mpg.de", "SMPL-X 1.1 and give its .npz file"),
}


def model_file(path: str | Path, kind: str = "smpl") -> Path:
    """Return the path of a model file of SMPL, SMPL-H or SMPL-X.

    Args:
        path: The file.
        kind: "smpl", "smplh" or "smplx".

    Raises:
        UnavailableError: If there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        name, site, download = _MODELS[kind]
        remedy = f"register at {site}, download {download}, or use the default body"
        raise UnavailableError(path, f"no {name} model file is there", remedy=remedy)
    return path


def read_model_arrays(
    path: Path, names: Sequence[str], problem: str, optional: Sequence[str] = ()
) -> Mapping[str, Any]:
    """Read a pickle or `.npz` file of arrays by name.

    Args:
        path: The file.
        names: The arrays that it must have.
        problem: The problem of a file without them, for the message.
        optional: Arrays that it may have.

    Raises:
        InputError: If the file is damaged, unsafe, or lacks an array.
    """
    # These need numpy, which `--help` does not load.
    from humanpose_cli.files.npz_files import read_npz
    from humanpose_cli.files.restricted_pickle import read_pickle

    table = read_npz(path, {*names, *optional}) if zipfile.is_zipfile(path) else read_pickle(path)
    if not isinstance(table, Mapping):
        raise InputError(path, problem, expected="a table of arrays", got=type(table).__name__)
    if missing := [name for name in names if name not in table]:
        raise InputError(path, problem, expected=", ".join(names), got=f"no {', '.join(missing)} in it")
    return table


def check_body(spec: str) -> None:
    """Check "default", or that the file of "smpl:FILE", "smplh:FILE" or "smplx:FILE" exists.

    Args:
        spec: The body.

    Raises:
        UsageError: If `spec` is something else.
        UnavailableError: If the file is missing.
    """
    if spec == "default":
        return
    kind, _, path = spec.partition(":")
    if kind not in _MODELS or not path:
        meant = f"did you mean smpl:{spec}?" if "." in spec else ""
        remedy = f"name its file: {kind}:FILE" if kind in _MODELS else meant
        expected = "default or smpl:FILE, also smplh, smplx"
        raise UsageError("body", "is unknown", expected=expected, got=spec, remedy=remedy)
    model_file(path, kind)


def check_prior(spec: str) -> None:
    """Check the name of a pose prior without opening files.

    Args:
        spec: "none", "pose" or "gmm:FILE".

    Raises:
        UsageError: If it is something else.
    """
    kind, _, path = spec.partition(":")
    if kind != "gmm" if path else spec not in ("none", "pose"):
        raise UsageError("prior", "is not known", expected=PRIORS, got=spec)


def prior_file(spec: str) -> Path | None:
    """Find the file of a pose prior.

    Args:
        spec: "none", "pose" or "gmm:FILE".

    Returns:
        The file, or None if the prior needs none.

    Raises:
        UsageError: If it is another prior.
        UnavailableError: If the file is missing.
    """
    check_prior(spec)
    name = spec.partition(":")[2]
    if not name:
        return None
    path = Path(name)
    if not path.is_file():
        download = "SMPLify's code, which has models/gmm_08.pkl"
        remedy = f"register at https://smplify.is.tue.mpg.de and download {download}, or use `prior=pose`"
        raise UnavailableError(path, "does not exist", remedy=remedy)
    return path


def prior_identity(spec: str) -> str:
    """Describe the content of a prior that decides a result: its kind and the digest of its file."""
    path = prior_file(spec)
    return spec if path is None else f"{spec.partition(':')[0]}:{digest_of(path)}"
