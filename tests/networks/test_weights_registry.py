"""Weights: shipped, fetched and one's own."""

import functools
import http.server
import threading

import pytest
from helpers.errors import raises

from humanpose_cli.core.errors import InputError, UnavailableError
from humanpose_cli.files.digests import digest_of
from humanpose_cli.lab.train.kept import kept_text
from humanpose_cli.networks import weights as registry
from humanpose_cli.networks.weights import PACKED, WEIGHTS, WeightsEntry, find_weights, read_header, shipped_weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HPC_WEIGHTS", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture(autouse=True)
def without_tls(monkeypatch):
    monkeypatch.setattr(registry, "_SCHEME", "http://")


@pytest.fixture
def served(tmp_path):
    """An owner's server with one file: (url, digest)."""
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "net.pth").write_bytes(b"weights")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "owner"))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/net.pth", digest_of(tmp_path / "owner" / "net.pth")
        server.shutdown()


def test_all_that_is_shipped_is_there_and_complete():
    shipped = [entry for entry in WEIGHTS.values() if entry.shipped]
    assert shipped
    for entry in shipped:
        entry.verify()
        assert len(entry.digest) == 64
        assert find_weights(entry.name) == shipped_weights(entry.name) == entry.path


def test_headers_of_shipped_networks_say_on_what_how_long_and_how_good():
    ours = [entry.path for entry in WEIGHTS.values() if entry.shipped and entry.path.name.endswith(PACKED)]
    assert len(ours) == 7
    for path in ours:
        header = read_header(path)
        training = header.training
        assert training["data"]
        assert training["loop"]["batch_size"] > 0
        assert header.metrics
        assert any(character.isdigit() for character in training["in_use"])
        assert training["steps"] <= training["of"]
        assert training["kept"]["rule"] in ("best", "last", "unrecorded")
        assert training["kept"]["rule"] != "last" or training["steps"] == training["of"]
        assert "how it was chosen" not in kept_text(training)


def test_downloads_are_checked_kept_and_not_repeated(served, folder):
    url, digest = served
    entry = WeightsEntry("net", "a net", "net.pth", digest[:8], url)
    assert not entry.shipped
    path = entry.fetch()
    assert path == folder / "net.pth"
    assert path.read_bytes() == b"weights"
    assert WeightsEntry("net", "", "net.pth", digest[:8], "http://127.0.0.1:9/gone").fetch() == path
    path.write_bytes(b"damaged")
    with raises(InputError, problem="damaged or another file"):
        entry.verify()


def test_what_differs_is_not_kept(served, folder):
    url, _ = served
    with raises(InputError, expected="SHA-256 00000000"):
        WeightsEntry("net", "", "net.pth", "00000000", url).fetch()
    assert list(folder.iterdir()) == []


def test_a_server_that_cannot_be_reached_is_named():
    with raises(UnavailableError, subject="127.0.0.1:9"):
        WeightsEntry("net", "", "net.pth", "", "http://127.0.0.1:9/net.pth").fetch()


def test_a_connection_without_tls_is_refused(served, folder, monkeypatch):
    url, digest = served
    monkeypatch.setattr(registry, "_SCHEME", "https://")
    with raises(UnavailableError, problem="without TLS"):
        WeightsEntry("net", "", "net.pth", digest, url).fetch()
    assert not folder.exists()


def test_everything_that_is_fetched_comes_over_tls_and_has_a_digest():
    fetched = [entry for entry in WEIGHTS.values() if not entry.shipped]
    assert all(entry.url.startswith("https://") and len(entry.digest) >= 8 for entry in fetched)


def test_weights_are_found_by_file_run_or_name(tmp_path, folder):
    (tmp_path / "own.safetensors").write_bytes(b"x")
    assert find_weights(tmp_path / "own.safetensors") == tmp_path / "own.safetensors"
    run = tmp_path / "run"
    run.mkdir()
    with raises(InputError, problem="holds no weights"):
        find_weights(run)
    (run / registry.BEST).write_bytes(b"x")
    assert find_weights(run) == run / registry.BEST
    with raises(InputError, problem="does not exist"):
        find_weights("nothing-like-it")
    with raises(UnavailableError, remedy="hpc weights fetch imagenet-vgg19"):
        find_weights("imagenet-vgg19")


def test_torchvisions_digests_are_those_of_their_names():
    for name, entry in WEIGHTS.items():
        if name.startswith("imagenet-"):
            assert entry.digest == entry.file.rsplit("-", 1)[1][:8]
            assert len(entry.digest) == 8
