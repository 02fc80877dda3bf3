"""The inputs of `hpc export` and `hpc view`: fits, their frames, and textures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from humanpose_cli.batch.items import Item
from humanpose_cli.cli.options import (
    BatchFlags,
    BodyOfFits,
    FitCamera,
    FitFiles,
    FitSmplx,
    FitTextures,
    FramesOfFits,
    option,
)
from humanpose_cli.cli.session import Session
from humanpose_cli.core.errors import InputError, UsageError

if TYPE_CHECKING:
    from humanpose_cli.avatar.look import Look
    from humanpose_cli.fitting.result import Fit
    from humanpose_cli.io.inputs import InputItem
    from humanpose_cli.refining.frames import FitFrames


TEXTURED = 0.5  # fraction of the work on a fit that is done when its textures are read or made
_PERSON = option("--person ID|largest|all", "People to include: all, largest or a track id.")
_NO_FRAMES = (
    "the frames were not found in the folder of the fit, so they are not shown, and people are shown without textures; "
    "--frames INPUT names them"
)


@dataclass(frozen=True)
class FitInputs:
    """Options of fits that both commands have."""

    fits: FitFiles = None
    frames: FramesOfFits = None
    person: Annotated[str, _PERSON] = "all"
    texture: FitTextures = None
    body: BodyOfFits = "default"
    camera: FitCamera = None
    smplx: FitSmplx = None

    def find(self, session: Session, flags: BatchFlags, out: Path) -> tuple[list[Path], list[InputItem]]:
        """Find the fit files, and the inputs that hold their frames, without importing torch."""
        if wrong := next((text for text in self.frames or () if re.fullmatch(r"-?\d*:-?\d*(:\d+)?", text)), ""):
            remedy = "hpc fit --frames A:B fits a range"
            raise UsageError("frames", "is a range", expected="the video of the fits", got=wrong, remedy=remedy)
        return flags.fits(self.fits), list(flags.inputs(session, self.frames, out)) if self.frames else []

    def items(
        self, paths: Sequence[Path], frames: Sequence[InputItem], outputs: Callable[[str], Sequence[Path]]
    ) -> list[Item]:
        """Make an item for each fit file; its payload is the path and the inputs that hold the frames.

        Args:
            paths: Fit files and folders, from `find`.
            frames: Inputs with frames, from `find`.
            outputs: Returns the output files of a fit from its name below its folder.
        """
        from humanpose_cli.io.fit_files import is_refined
        from humanpose_cli.outputs.output_names import FIT_SUFFIX
        from humanpose_cli.refining.items import files_of_fit, fit_files, inputs_of_fit, named_frames

        files = fit_files(paths)
        items = []
        for name, path, problem in files:
            if frames and problem is None:
                sources, error = inputs_of_fit(name, path, frames, alone=len(files) == 1)
            else:
                sources = ()
                error = problem
            named_inputs = named_frames(path) if problem is None and not sources else ()
            inputs = files_of_fit(path, (*sources, *named_inputs))
            payload = (path, sources)
            stem = name.removesuffix(FIT_SUFFIX)
            if problem is None and not stem.endswith(".refined") and is_refined(path):
                name = f"{stem}.refined{FIT_SUFFIX}"  # the results of the fit that was refined stay
            items.append(Item(name, inputs, str(path), path.parent, tuple(outputs(name)), payload=payload, error=error))
        return items

    def read(
        self, session: Session, item: Item, *, with_looks: bool = True
    ) -> tuple[Fit, FitFrames | None, Mapping[int, Look]]:
        """Load a fit, its frames if they are available, and the looks of its tracks.

        If the frames that a fit file names cannot be read or have changed, they count as missing, unless --texture
        needs them.
        """
        from humanpose_cli.core.progress import part_of
        from humanpose_cli.exporting.exporter import chosen_people
        from humanpose_cli.exporting.looks import available_frames, looks_of_fit
        from humanpose_cli.fitting.fit_reading import read_fits

        path, sources = item.payload
        everyone = read_fits(path, self.body, sources or None, camera=self.camera, smplx=self.smplx)
        fit = chosen_people(everyone, self.person)
        images = available_frames(everyone)
        if not with_looks:
            return fit, images, {}
        if images is None and self.texture is None:
            session.reporter.info(_NO_FRAMES)
        baking = part_of(session.reporter.step, 0, TEXTURED)
        try:
            return fit, images, looks_of_fit(fit, self.texture, images, baking, everyone=everyone)
        except InputError as error:
            if images is None or sources or self.texture is not None:
                raise
            reason = f"the frames are not used: {error}"
            session.reporter.info(f"{item.key}: people are shown without textures, because {reason}")
            fit = replace(fit, frame_files=())
            return fit, None, looks_of_fit(fit)

    def identity(self) -> dict[str, Any]:
        """Return the options that determine the results, for the ledger."""
        from humanpose_cli.files.digests import file_digest
        from humanpose_cli.fitting.options import body_identity

        texture = self.texture
        if texture and Path(texture).is_file():
            texture = file_digest(Path(texture))
        models = {name: file and file_digest(file) for name, file in (("camera", self.camera), ("smplx", self.smplx))}
        return {"person": self.person, "body": body_identity(self.body), "texture": texture, **models}
