"""Data sets in their owners' layout, judged as papers do: the truth scores 0, a known offset itself, under every
protocol; another gender's model does not.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import emdb_tree
from helpers.paper_datasets import BODY, image, threedpw_tree, write

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.lab.cache.building import build_cache
from humanpose_cli.lab.cache.cache import open_cache
from humanpose_cli.lab.datasets import emdb, threedpw
from humanpose_cli.lab.datasets.emdb import EmdbSource
from humanpose_cli.lab.datasets.estimators import SourceTools
from humanpose_cli.lab.datasets.threedpw import ThreedpwSource
from humanpose_cli.lab.evaluate.bodies import EvaluatedFits, measure_fits
from humanpose_cli.lab.evaluate.people import PeopleSelection
from humanpose_cli.lab.evaluate.predictions import fits_from_files

OFFSET = np.array([0.03, 0.0, 0.04])


def model(gender: str, size: float) -> Body:
    """A body that stands in for SMPL's of that gender, larger or smaller."""
    body = copy.deepcopy(BODY)
    body.name = f"smpl-{gender}"
    body.template *= size
    body.joint_template *= size
    for name in ("h36m17", "reposing19"):
        body.landmarks(name).template *= size
    return body


MODELS = {"male": model("male", 1.0), "female": model("female", 0.95)}
FILES = tuple(Path(f"{gender}.pkl") for gender in MODELS)


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of the trees of 3DPW, with two people, and EMDB, whose camera moves."""
    folder = tmp_path_factory.mktemp("trees")
    for name in emdb_tree.VIDEOS:
        write(emdb_tree.file_of(folder / "emdb", name), pickle.dumps(emdb_tree.content(name)))
        for frame in range(emdb_tree.FRAMES):
            write(folder / "emdb" / name / "images" / f"{frame:05d}.jpg", image(emdb_tree.SIZE, 10 * frame))
    tools = SourceTools(bodies=MODELS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threedpw, "OFFICIAL_VIDEOS", {"train": 1, "validation": 1, "test": 1})
        patch.setattr(emdb, "OFFICIAL_VIDEOS", {"emdb1": 1, "emdb2": 1})
        sources = ThreedpwSource(threedpw_tree(folder / "3dpw"), tools=tools), EmdbSource(folder / "emdb", tools=tools)
        for source in sources:
            assert not build_cache(source, folder / f"{source.name}-cache", workers=1).failures
    return {source.name: folder / f"{source.name}-cache" for source in sources}


@pytest.fixture(autouse=True)
def _files(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("people", "predictions"):
        name = f"humanpose_cli.lab.evaluate.{module}.load_models"
        monkeypatch.setattr(name, lambda paths, _=10, **hands: {path.stem: MODELS[path.stem] for path in paths})


def evaluate_changes(
    folder: Path, tmp_path: Path, protocol: str, changes: dict[str, Any], **options: Any
) -> EvaluatedFits:
    """The labels of the test split, changed, as a plain file of predictions."""
    cache = open_cache(folder)
    images = cache.rows(protocol, "test")
    rows = [(int(row), number, person) for row in images for number, person in enumerate(cache.people_of(int(row)))]
    people = [cache.person(person) for _, _, person in rows]
    fields: dict[str, Any] = {
        "image": [str(cache.images["name"][row]) for row, _, _ in rows],
        "person": [number for _, number, _ in rows],
        "gender": [person.gender for person in people],
        **{name: np.stack([getattr(person, name) for person in people]) for name in ("poses", "betas", "trans")},
    }
    if "world_to_camera" in cache.images:
        fields["world_to_camera"] = np.tile(np.eye(4), (len(rows), 1, 1))
        fields["world_to_camera"][:, :3] = [cache.images["world_to_camera"][row] for row, _, _ in rows]
    fields |= {name: change(fields[name]) for name, change in changes.items()}
    np.savez(tmp_path / "p.npz", **fields)
    selection = PeopleSelection(folder, protocol, models=FILES, **options)
    fits = fits_from_files(tmp_path / "p.npz", cache, default_body(), FILES)
    return measure_fits(selection.people(joints=selection.joint_set()), fits, default_body())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "protocol", "joints"),
    [("3dpw", "3dpw", "smpl24"), ("3dpw", "3dpw", "lsp14"), ("emdb", "emdb1", "smpl24"), ("emdb", "emdb2", "smpl24")],
)
def test_published_figures_are_reproduced(
    caches: dict[str, Path], tmp_path: Path, source: str, protocol: str, joints: str
) -> None:
    def shift(trans: np.ndarray) -> np.ndarray:
        return trans + OFFSET

    for root, changes, expected in (("pelvis", {}, 0), ("hips", {"trans": shift}, 0), ("none", {"trans": shift}, 50)):
        figures = evaluate_changes(caches[source], tmp_path, protocol, changes, joints=joints, root=root)
        assert not len(figures.stand_in.mpjpe)
        np.testing.assert_allclose(1e3 * figures.errors.mpjpe, expected, atol=0.01)
        np.testing.assert_allclose(1e3 * figures.errors.pve, expected, atol=0.01)
        np.testing.assert_allclose(figures.errors.pa_mpjpe, 0, atol=1e-5)
        if source == "emdb":
            assert figures.movement["accel_mm"].value == pytest.approx(0, abs=0.01)
        if source == "emdb" and not changes:
            assert figures.movement["w_mpjpe_mm"].value == pytest.approx(0, abs=0.05)
            assert figures.movement["rte_percent"].value == pytest.approx(0, abs=0.05)


def test_another_genders_model_is_no_truth(caches: dict[str, Path], tmp_path: Path) -> None:
    swap = {"male": "female", "female": "male"}
    figures = evaluate_changes(
        caches["3dpw"], tmp_path, "3dpw", {"gender": lambda names: [swap[name] for name in names]}
    )
    assert (figures.errors.mpjpe > 0.005).all()
    assert (figures.errors.pve > 0.005).all()
