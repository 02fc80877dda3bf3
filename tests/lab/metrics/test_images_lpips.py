"""LPIPS from files, against its definition. The weights are random: what real ones measure is their authors' matter."""

import pytest
import torch
from helpers.errors import raises

from humanpose_cli.core.errors import InputError, UsageError
from humanpose_cli.lab.metrics.images import Lpips
from humanpose_cli.networks.backbones import AlexNet

CHANNELS = (64, 192, 384, 256, 256)
RELUS = (1, 4, 7, 9, 11)  # where torchvision's features are tapped


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    torch.manual_seed(0)
    folder, network = tmp_path_factory.mktemp("lpips"), AlexNet()
    torch.save({**network.state_dict(), "classifier.1.bias": torch.zeros(2)}, folder / "backbone.pth")
    linear = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate(CHANNELS)}
    torch.save(linear, folder / "linear.pth")
    return network, linear, folder


def test_it_is_what_the_paper_defines(files):
    network, linear, folder = files
    lpips = Lpips(folder / "backbone.pth", folder / "linear.pth")
    a, b = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    expected = torch.zeros(2)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x, y = ((p - shift.view(3, 1, 1)) / scale.view(3, 1, 1) for p in (a, b))
    with torch.no_grad():
        for number, layer in enumerate(network.features):
            x, y = layer(x), layer(y)
            if number in RELUS:
                weight = linear[f"lin{RELUS.index(number)}.model.1.weight"]
                apart = torch.nn.functional.normalize(x) - torch.nn.functional.normalize(y)
                expected += torch.nn.functional.conv2d(apart**2, weight).mean((1, 2, 3))
        found = lpips(a, b)
        torch.testing.assert_close(lpips(a, a), torch.zeros(2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert set(lpips.describe()) == {"network", "backbone", "linear"}


def test_files_and_images_that_do_not_fit(files, tmp_path):
    _, _, folder = files
    with raises(InputError, problem="lin0.model.1.weight"):
        Lpips(folder / "backbone.pth", folder / "backbone.pth")
    with raises(InputError, problem="does not fit at features"):
        Lpips(folder / "linear.pth", folder / "linear.pth")
    with raises(InputError, problem="does not exist"):
        Lpips(tmp_path / "none.pth", folder / "linear.pth")
    lpips = Lpips(folder / "backbone.pth", folder / "linear.pth")
    with raises(UsageError, expected="pixels or more"):
        lpips(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
