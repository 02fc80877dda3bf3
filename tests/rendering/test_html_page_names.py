"""Names in a page's JSON cannot change how a browser reads the page."""

import json

from humanpose_cli.rendering.html_page import json_script


def test_no_value_opens_or_ends_an_element():
    name = "<!--<script>a</script>"
    text = json_script({"name": name})
    assert text.count("<") == 2
    assert json.loads(text.partition(">")[2].rpartition("</")[0]) == {"name": name}
