import pytest
from repose_stage import Stage, painted_stage


@pytest.fixture(scope="session")
def stage() -> Stage:
    return painted_stage()
