"""A fit prepared for export: its world, its people's motions and surfaces, and its files' names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from humanpose_cli.body.body import Body
from humanpose_cli.core.conventions import SMPL24
from humanpose_cli.core.errors import one_line
from humanpose_cli.core.progress import Progress
from humanpose_cli.exporting.motion import CameraPath, PersonMotion, with_motions
from humanpose_cli.exporting.retarget import fitted, retargeted
from humanpose_cli.exporting.rigs import Rig
from humanpose_cli.exporting.skins import AnimatedScene, SkinnedMesh, frame_meshes
from humanpose_cli.fitting.overlays import DEFAULT_FRAME_RATE
from humanpose_cli.fitting.result import Fit
from humanpose_cli.io.inputs import escaped
from humanpose_cli.outputs.atomic import removed_on_failure, write_bytes, write_text
from humanpose_cli.refining.frames import FitFrames


@dataclass(frozen=True, eq=False)
class Export:
    """The prepared parts of a fit.

    Attributes:
        fit: The fit, with a frame rate.
        body: Its body model.
        base: Path that the files' names begin with: `out/clip.mp4` makes `out/clip.mp4.glb`.
        people: Motions of its tracks.
        meshes: Resting meshes by track, the body first.
        progress: The listener.
        original: The fit in its own world, which projects onto the frames.
        frames: The frames; None if they are not available.
        rig: The rig of `people`; None for the body's bones.
        travelling: The export whose people this one has in place; None if they travel.
    """

    fit: Fit
    body: Body
    base: Path
    people: Sequence[PersonMotion]
    meshes: Mapping[int, Sequence[SkinnedMesh]]
    progress: Progress
    original: Fit
    frames: FitFrames | None
    rig: Rig | None = None
    travelling: Export | None = None

    def on_rig(self, rig: Rig | None, *, grounded: bool) -> Export:
        """Return the export with people on a rig, and with their surfaces if the rig has their proportions."""
        if rig is None:
            return self
        own = {p.track: fitted(rig, p, self.meshes[p.track]) for p in self.people if not len(rig.positions)}
        seconds, rigs = self.fit.seconds(DEFAULT_FRAME_RATE), {track: part for track, (part, _) in own.items()}
        people = [retargeted(p, rigs.get(p.track, rig), seconds, grounded=grounded) for p in self.people]
        return replace(self, people=people, meshes={track: meshes for track, (_, meshes) in own.items()}, rig=rig)

    def in_place(self) -> Export:
        """Return the export with each person above one point of the ground."""
        up = np.array((0.0, 1, 0)) @ (np.eye(3) if self.rig is None else self.rig.to_body)
        people = [person.in_place(up) for person in self.people]
        fit = with_motions(self.fit, people, self.body) if self.rig is None else self.fit
        return replace(self, fit=fit, people=people, travelling=self)

    @property
    def scene(self) -> AnimatedScene:
        """The people and the cameras."""
        fit = self.fit
        cameras, first = CameraPath.all_of(fit), int(fit.frame_numbers[0])
        return AnimatedScene(self.people, self.meshes, cameras, fit.seconds(1), fit.frame_rate, first)

    @property
    def document(self) -> dict[str, Any]:
        """The fit as JSON values: frames with their camera, and pose, shape and joints by name of all people.

        Lengths are in metres, angles in radians, image positions in pixels, times in seconds. Positions and poses have
        the axes of each frame's camera: x right, y down, z forward; `world_to_camera` maps the world to them.
        """
        fit = self.fit
        seconds = fit.seconds(DEFAULT_FRAME_RATE)
        return {
            "format": "humanpose-cli fit",
            "version": 1,
            "units": {"length": "metre", "angle": "radian", "image": "pixel"},
            "axes": "camera: x right, y down, z forward",
            "frame_rate": fit.frame_rate,
            "body": fit.body,
            "gender": fit.gender,
            "skeleton": {"name": SMPL24.name, "joints": SMPL24.joint_names, "parents": SMPL24.parents},
            "frames": [
                {
                    "name": str(fit.frame_names[frame]),
                    "number": int(fit.frame_numbers[frame]),
                    "time": round(float(seconds[frame]), 6),
                    "shot": int(fit.shot_id[frame]),
                    "camera": {
                        "focal": float(fit.focal[frame]),
                        "principal_point": fit.principal_point[frame].tolist(),
                        "image_size": fit.image_size[frame].tolist(),
                        "world_to_camera": fit.world_to_camera[frame].tolist(),
                    },
                    "people": [fit.row_document(int(row)) for row in fit.rows_for(frame)],
                }
                for frame in range(fit.frame_count)
            ],
        }

    def path(self, ending: str) -> Path:
        """Return the path of a file with this ending."""
        return self.base.with_name(self.base.name + ending)

    @property
    def stem(self) -> str:
        """The base name for files that are named in other files, which must be UTF-8 and one line."""
        return one_line(escaped(self.base.name))

    def each_person(self, ending: str, content: Callable[[PersonMotion, str], str | bytes]) -> list[Path]:
        """Write one file for each person; `content` gets the person and the file's name."""
        paths = [self.path(f".{person.name}.{ending}") for person in self.people]
        with removed_on_failure(paths):
            for person, path in zip(self.people, paths, strict=True):
                data = content(person, path.name)
                if isinstance(data, bytes):
                    write_bytes(path, data)
                else:
                    write_text(path, data)
        return paths

    def each_frame(self, kind: str, write: Callable[[Path, Sequence[SkinnedMesh]], None]) -> list[Path]:
        """Write one file for an image, or a folder with a file for each frame of a sequence that shows a person."""
        frames = np.unique(self.fit.frame_index).tolist()
        folder, single = self.path(f".{kind}"), self.fit.frame_count == 1
        numbers = self.fit.frame_numbers
        paths = [folder if single else folder / f"{numbers[frame]:06d}.{kind}" for frame in frames]
        with removed_on_failure(paths):
            for number, (frame, path) in enumerate(zip(frames, paths, strict=True), 1):
                write(path, frame_meshes(self.fit, frame, self.body, self.people, self.meshes))
                self.progress(number, len(frames), f"frames as {kind}")
        return paths

    def images(self, folder: Path, stem: str) -> tuple[dict[str, str], dict[Path, bytes]]:
        """Encode the textures as PNG; return their names (`STEM.person0.png`) by mesh, and the bytes of each file."""
        names, files = {}, {}
        for mesh in chain(*self.meshes.values()):
            if mesh.image is not None:
                names[mesh.name] = f"{stem}.{mesh.name}.png"
                files[folder / names[mesh.name]] = mesh.png
        return names, files
