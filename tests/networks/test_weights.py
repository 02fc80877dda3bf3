"""Weights files: round trips, what the header says, damaged and foreign files."""

import hashlib
import json
import pickle

import pytest
import torch
from helpers.errors import raises
from safetensors.torch import save, save_file

from humanpose_cli.core.errors import InputError
from humanpose_cli.core.extras import reinstall_line
from humanpose_cli.files.digests import digest_of
from humanpose_cli.files.planes import read_planes
from humanpose_cli.networks import weights
from humanpose_cli.networks.weights import (
    _FORMAT,
    _KEY,
    PACKED,
    WEIGHTS,
    WeightsHeader,
    read_header,
    read_tensors,
    read_weights,
    write_weights,
)

HEADER = WeightsHeader("segmenter", {"width": 8}, {"data": "synthetic", "steps": 10}, {"iou": 0.5})


@pytest.fixture
def state():
    torch.manual_seed(0)
    return {"a.weight": torch.randn(3, 4), "a.count": torch.tensor(7), "b": torch.randn(5)[::2]}


def test_what_is_written_is_read(tmp_path, state):
    path = tmp_path / "w.safetensors"
    write_weights(path, state, HEADER)
    found, header = read_weights(path, "segmenter")
    assert header == HEADER == read_header(path)
    assert found["a.count"] == 7
    for name in ("a.weight", "b"):
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name], state[name].half().float(), rtol=0, atol=0)


def test_the_same_weights_are_the_same_bytes(tmp_path, state):
    for name in "ab":
        write_weights(tmp_path / name, state, HEADER)
    assert digest_of(tmp_path / "a") == digest_of(tmp_path / "b")
    assert digest_of(tmp_path / "a") == hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()


def test_numbers_beyond_half_precision_are_refused(tmp_path):
    with raises(InputError, subject="weights big"):
        write_weights(tmp_path / "w", {"big": torch.tensor([1e6])}, HEADER)
    assert not (tmp_path / "w").exists()


def test_the_wrong_file_is_named(tmp_path, state):
    path = tmp_path / "w.safetensors"
    with raises(InputError, subject="w.safetensors", problem="does not exist"):
        read_weights(path)
    write_weights(path, state, HEADER)
    with raises(InputError, problem="another model"):
        read_weights(path, "nbf")
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with raises(InputError, problem="cannot be read"):
        read_weights(path)
    save_file(state | {"b": state["b"].contiguous()}, path)
    with raises(InputError, problem="no weights file of hpc"):
        read_weights(path)


def test_changed_numbers_are_found_whether_or_not_the_file_has_a_digest(tmp_path, state, monkeypatch):
    path = tmp_path / "w.safetensors"
    write_weights(path, state, HEADER)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with raises(InputError, problem="numbers have changed"):
        read_weights(path)
    old = save(
        {"b": torch.tensor([1.0, float("nan")])}, metadata={_KEY: json.dumps({"format": _FORMAT, **vars(HEADER)})}
    )
    path.write_bytes(old)
    with raises(InputError, problem="numbers have changed"):
        read_weights(path)


def flip_bits(path, count=200):
    """Change as many bits of the tensors, spread over the file, and leave the header as it is."""
    content = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(content[:8], "little")
    for number in range(count):
        content[begin + (len(content) - begin) * number // count] ^= 1
    path.write_bytes(content)


SHIPPED = sorted(name for name, entry in WEIGHTS.items() if entry.shipped and entry.path.name.endswith(PACKED))


@pytest.mark.parametrize("name", SHIPPED)
def test_flipped_bits_in_a_copy_of_shipped_weights_are_refused(tmp_path, name):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(read_planes(WEIGHTS[name].path))
    tensors, header = read_weights(copy)
    assert len(header.digest) == 64
    assert read_tensors(copy).keys() == tensors.keys()
    flip_bits(copy)
    for read in (read_weights, read_tensors):
        with raises(InputError, subject="copy.safetensors", problem="is damaged:", remedy="copy it again"):
            read(copy)


def test_a_file_of_an_earlier_version_has_no_digest_and_loads(tmp_path, state):
    path = tmp_path / "old.safetensors"
    document = {"format": _FORMAT, "model": "segmenter", "config": {}, "training": {}, "metrics": {}}
    path.write_bytes(save({"b": torch.ones(2)}, metadata={_KEY: json.dumps(document)}))
    tensors, header = read_weights(path)
    assert header.digest == ""
    assert tensors["b"].tolist() == [1, 1]


def test_another_config_keeps_the_digest_of_equal_tensors(tmp_path, state):
    digests = set()
    for name, header in {"a": HEADER, "b": WeightsHeader("nbf", {"width": 9})}.items():
        write_weights(tmp_path / name, state, header)
        digests.add(read_header(tmp_path / name).digest)
    assert len(digests) == 1


def test_damage_in_the_package_calls_for_a_new_installation(tmp_path, state, monkeypatch):
    monkeypatch.setattr(weights, "_PACKAGE", tmp_path)
    write_weights(tmp_path / "w.safetensors", state, HEADER)
    flip_bits(tmp_path / "w.safetensors", 1)
    with raises(InputError, problem="is damaged: ", remedy=reinstall_line()):
        read_weights(tmp_path / "w.safetensors")


def test_foreign_checkpoints_are_unwrapped(tmp_path, state):
    path = tmp_path / "other.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    found = read_tensors(path)
    assert found.keys() == state.keys()
    torch.testing.assert_close(found["a.weight"], state["a.weight"])


def test_a_changed_number_in_a_foreign_checkpoint_is_found(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(bytes(400)) + 200] ^= 1
    path.write_bytes(content)
    with raises(InputError, subject=("other.pth (", "data/0)"), problem="is damaged: its checksum differs"):
        read_tensors(path)


class Harmful:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_foreign_checkpoints_is_not_executed(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"x": Harmful()}, path)
    with raises(InputError, problem="cannot be read safely"):
        read_tensors(path)
    path.write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(InputError):
        read_tensors(path)
    assert "executed" not in capsys.readouterr().out
    torch.save([1, 2], path)
    with raises(InputError, problem="no named tensors"):
        read_tensors(path)
