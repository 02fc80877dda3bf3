"""The texture map of the body."""

import pytest

from humanpose_cli.body.body import Body
from humanpose_cli.body.texture import TexelMap


@pytest.fixture(scope="session")
def texels(body: Body) -> TexelMap:
    return TexelMap(body.uv, body.uv_faces, 256)
