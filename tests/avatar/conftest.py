"""A person on a stage, and a body with its texture map."""

import pytest
from helpers.repose_stage import Stage, painted_stage

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.texture import TexelMap


@pytest.fixture(scope="session")
def stage() -> Stage:
    return painted_stage()


@pytest.fixture(scope="session")
def body() -> Body:
    return default_body()


@pytest.fixture(scope="session")
def texels(body: Body) -> TexelMap:
    return TexelMap(body.uv, body.uv_faces, 256)
