"""HTML as text: nothing that a run says becomes part of the page's structure."""

import hashlib
import json
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from gradcli.views.report.html import Html, element, embedded_json, html

NASTY = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onclick='alert(1)",
    "a & b < c > d",
    "<!-- ",
    "]]>",
    "\u2028\u2029",
    "\x1b[31mred",
]


class Seen(HTMLParser):
    """What a browser would make of it."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


def seen(text):
    parser = Seen()
    parser.feed(text)
    parser.close()
    return parser


@pytest.mark.parametrize("text", NASTY)
def test_text_stays_text_and_attributes_stay_one(text):
    found = seen(element("p", text, title=text))
    assert found.tags == ["p"]
    assert [name for name, _ in found.attributes] == ["title"]
    if text.isprintable():
        assert (found.text, found.attributes) == (text, [("title", text)])
    else:
        assert "\x1b" not in found.text


@pytest.mark.parametrize("text", NASTY)
def test_data_cannot_end_their_element(text):
    script = embedded_json({"label": text}, data_for="x")
    assert seen(script).tags == ["script"]
    content = script.removeprefix(script.partition(">")[0] + ">").removesuffix("</script>")
    assert json.loads(content) == {"label": text}
    assert not set("<>&\u2028\u2029") & set(content)


def test_only_what_is_marked_as_html_is_html():
    assert html("<b>", Html("<b>"), None, ["&", [Html("</b>")]]) == "&lt;b&gt;<b>&amp;</b>"


def test_attributes_that_are_none_or_false_are_left_out():
    assert element("input", type="radio", checked=True, disabled=False, id=None) == (
        '<input type="radio" checked>'
    )


@pytest.mark.parametrize("name", ["uPlot.iife.min.js", "uPlot.min.css"])
def test_the_library_is_the_one_that_its_origin_names(name):
    folder = files("gradcli.views.report") / "uplot"
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert f"| {name} | {digest} |" in (folder / "ORIGIN.md").read_text(encoding="utf-8")
    assert "MIT" in (folder / "LICENSE").read_text(encoding="utf-8")
