"""Refinement as a step between fits, with the files that it writes next to the fit file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from humanpose_cli.avatar.frame_texture import read_texture, texture_path
from humanpose_cli.body.texture import TexelMap
from humanpose_cli.core.errors import UsageError
from humanpose_cli.core.progress import Progress, no_progress
from humanpose_cli.fitting.result import Fit
from humanpose_cli.fitting.steps import FitStep, only_fit
from humanpose_cli.refining.displacements import displacement_file, displacements_path
from humanpose_cli.refining.frames import frames_of_fit
from humanpose_cli.refining.refiner import TEXELS, Refiner


@dataclass(frozen=True)
class Refinement(FitStep):
    """Moves the bodies of a fit, of one camera or of a take, onto the pixels of its frames.

    Attributes:
        refiner: The refiner.
        texture: The texture of the fit's only person, or the folder of an earlier run. None makes textures from the
            frames.
        displacement_frames: The maximum number of frames whose displacements are written. 0 writes none.
    """

    refiner: Refiner
    texture: Path | None = None
    displacement_frames: int = 0

    def __post_init__(self) -> None:
        if self.displacement_frames:
            self.refiner.check_compares("save_displacements")
        if self.texture is not None:
            self.refiner.check_compares("texture")

    @property
    def identity(self) -> dict[str, Any]:
        """The refiner's identity, and the number of displacements that are written."""
        outputs = {"displacements": self.displacement_frames} if self.displacement_frames else {}
        return {**self.refiner.identity, **outputs}

    def outputs(self, output: Path, tracks: Sequence[int] = ()) -> tuple[Path, ...]:
        """Return the file of displacements. () if none are written."""
        return (displacements_path(output),) if self.displacement_frames else ()

    def __call__(self, fits: Sequence[Fit], *, output: Path | None = None, progress: Progress = no_progress) -> Fit:
        """Refine a fit whose frames are known.

        Args:
            fits: One fit.
            output: The fit file that will be written, next to which displacements are written. None writes none.
            progress: Called with (done, total, unit).

        Raises:
            InputError: If frames or textures are missing.
            UsageError: If displacements of a take are requested.
        """
        fit, frames = frames_of_fit(only_fit(fits), None)
        textures: dict[int, NDArray[Any]] | None = None
        if self.texture is not None:
            textures = read_textures(self.texture, fit, output)
        path = displacements_path(output) if output is not None and self.displacement_frames else None
        with displacement_file(path, self.refiner, fit, self.displacement_frames) as save:
            result = self.refiner.refine(fit, frames, textures=textures, progress=progress, on_displacements=save)
        # Given textures are already written.
        return result if self.texture is None else replace(result, textures={})


def read_textures(path: Path, fit: Fit, output: Path | None = None) -> dict[int, NDArray[Any]]:
    """Read the textures of a fit's tracks.

    Args:
        path: A texture for a fit of one person, or the folder of an earlier run.
        fit: The fit.
        output: The fit file that is being made, which had the same name in the earlier run. None: the fit's own file.

    Returns:
        Track to texture.

    Raises:
        InputError: If a texture is missing, damaged or of another body.
        UsageError: If there is one file for several people.
    """
    body = fit.body_model()
    coverage = TexelMap(body.uv, body.uv_faces, TEXELS).covered
    if path.is_dir():
        name = (output or fit.path or Path("fit.npz")).name
        return {track: read_texture(texture_path(path / name, track), coverage, body.name) for track in fit.tracks}
    if len(fit.tracks) > 1:
        remedy = "the folder of an earlier run, which has one for each"
        raise UsageError("texture", "is of one person", got=f"{len(fit.tracks)} people", remedy=remedy)
    return {track: read_texture(path, coverage, body.name) for track in fit.tracks}
