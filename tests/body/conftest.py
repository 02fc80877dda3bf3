"""Bodies that the tests of this folder share; reading them takes a while."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.smpl_model_file import random_smpl_fields, write_smpl_pickle

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.smpl import load_smpl


@pytest.fixture(scope="session")
def body() -> Body:
    return default_body()


@pytest.fixture(scope="session")
def smpl_fields() -> dict[str, Any]:
    return random_smpl_fields()


@pytest.fixture(scope="session")
def smpl_file(smpl_fields: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smpl")
    return write_smpl_pickle(folder / "basicmodel_f_lbs_10_207_0_v1.1.0.pkl", smpl_fields)


@pytest.fixture(scope="session")
def smpl_body(smpl_file: Path) -> Body:
    return load_smpl(smpl_file)


@pytest.fixture(scope="session", params=["default", "smpl"])
def any_body(request: pytest.FixtureRequest) -> Body:
    """Each body in turn, in float64 so that identities hold to 1e-9."""
    model: Body = request.getfixturevalue("body" if request.param == "default" else "smpl_body")
    return copy.deepcopy(model).to(torch.float64)
