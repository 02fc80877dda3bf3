"""Names in a page's JSON cannot change how a browser reads the page, and images have a limited size."""

import json

import numpy as np

from humanpose_cli.rendering.html_page import jpeg_within, json_script


def test_no_value_opens_or_ends_an_element():
    name = "<!--<script>a</script>"
    text = json_script({"name": name})
    assert text.count("<") == 2
    assert json.loads(text.partition(">")[2].rpartition("</")[0]) == {"name": name}


def test_images_stay_within_their_budget():
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert len(jpeg_within(noise, 6000)) <= 6000
    assert len(jpeg_within(noise, 10)) < 6000  # as small as it gets
