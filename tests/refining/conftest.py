"""A person who walks before a plain wall, drawn once."""

import pytest
from walking_person import Walk, drawn_walk

from humanpose_cli.body.body import Body, default_body
from humanpose_cli.body.texture import TexelMap


@pytest.fixture(scope="session")
def body() -> Body:
    return default_body()


@pytest.fixture(scope="session")
def texels(body: Body) -> TexelMap:
    return TexelMap(body.uv, body.uv_faces, 256)


@pytest.fixture(scope="session")
def walk(body: Body) -> Walk:
    return drawn_walk(body)
