"""humanpose-cli: photos and videos of people into 3-D bodies and new images.

    import humanpose_cli as hp

    fit = hp.fit("photo.jpg")                     # pose and shape of all people
    fit.overlay()                                 # (H, W, 3) uint8: the bodies over the photograph
    fit = hp.refine(fit)                          # moved onto the pixels
    hp.view(fit)                                  # in 3-D with the textures, in a notebook
    hp.repose("photo.jpg", "arms_up.npy").save("arms_up.png")

Nothing heavy is loaded before the first use. The command line is `hpc`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from types import FunctionType
from typing import TYPE_CHECKING, Any, Literal, get_origin

from humanpose_cli.version import __version__

if TYPE_CHECKING:
    from humanpose_cli.body.body import Body
    from humanpose_cli.body.smpl import load_body
    from humanpose_cli.core.camera import Camera
    from humanpose_cli.core.errors import HpcError, InputError, UnavailableError, UsageError
    from humanpose_cli.exporting.exporter import export, export_fit
    from humanpose_cli.exporting.viewing import view
    from humanpose_cli.fitting.fit_reading import read_fits
    from humanpose_cli.fitting.fitter import Fitter
    from humanpose_cli.fitting.result import Fit, load_fit
    from humanpose_cli.front_door import combine, fit, refine
    from humanpose_cli.geometry.body_params import BodyParams
    from humanpose_cli.io.pose_files import read_pose
    from humanpose_cli.lab.cache.cache import open_cache
    from humanpose_cli.refining.refiner import Refiner
    from humanpose_cli.reposing.reposer import Reposer, repose
    from humanpose_cli.reposing.result import Reposed

# Since 1.31 official builds of ONNX Runtime report to Microsoft what they run, and keep an identifier of the machine in
# the home folder (their Privacy.md). They read this variable once, when they are loaded. A value of the user's stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Threads of torch that wait for work by spinning take the cores from other processes and from our own threads: on a
# busy machine a refinement takes twice the processor time. OpenMP reads this variable once, too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__all__ = [
    "Body",
    "BodyParams",
    "Camera",
    "Fit",
    "Fitter",
    "HpcError",
    "InputError",
    "Refiner",
    "Reposed",
    "Reposer",
    "UnavailableError",
    "UsageError",
    "__version__",
    "combine",
    "export",
    "export_fit",
    "fit",
    "load_body",
    "load_fit",
    "open_cache",
    "read_fits",
    "read_pose",
    "refine",
    "repose",
    "view",
]

_MODULES = {
    "Body": "body.body",
    "BodyParams": "geometry.body_params",
    "Camera": "core.camera",
    "Fit": "fitting.result",
    "Fitter": "fitting.fitter",
    "HpcError": "core.errors",
    "InputError": "core.errors",
    "Refiner": "refining.refiner",
    "Reposed": "reposing.result",
    "Reposer": "reposing.reposer",
    "UnavailableError": "core.errors",
    "UsageError": "core.errors",
    "combine": "front_door",
    "export": "exporting.exporter",
    "export_fit": "exporting.exporter",
    "fit": "front_door",
    "load_body": "body.smpl",
    "load_fit": "fitting.result",
    "open_cache": "lab.cache.cache",
    "read_fits": "fitting.fit_reading",
    "read_pose": "io.pose_files",
    "refine": "front_door",
    "repose": "reposing.reposer",
    "view": "exporting.viewing",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name, once."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    for function in [value, *vars(value).values()] if isinstance(value, type | FunctionType) else []:
        if isinstance(function, FunctionType):
            _name_choices(function)
    globals()[name] = value
    return value


def _name_choices(function: FunctionType) -> None:
    """Replace the names of Literal types in a function's signature by their choices, for `help`."""

    def choices(match: re.Match[str]) -> str:
        kind = function.__globals__.get(match[0])
        is_literal = get_origin(kind) is Literal or (isinstance(kind, str) and "Literal[" in kind)
        return str(kind).removeprefix("typing.") if is_literal else match[0]

    def named(annotation: Any) -> Any:
        return re.sub(r"\b[A-Z]\w+", choices, annotation) if isinstance(annotation, str) else annotation

    signature = inspect.signature(function)
    parameters = [each.replace(annotation=named(each.annotation)) for each in signature.parameters.values()]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]


def __dir__() -> list[str]:
    return sorted(__all__)
