"""A writer of documents of people."""

import json

import pytest


@pytest.fixture
def save(tmp_path):
    def to_file(document, name="people.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        return path

    return to_file
