"""The page around a report's sections: one file, with style, script and data inside."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from gradcli.views.report.html import Html, element, html
from gradcli.views.report.layer_map import colours


def page(title: str, subtitle: str, badge: str, sections: Html, *, with_charts: bool = True) -> str:
    """Return a whole document that needs nothing else, not even a network.

    Args:
        title: of the window and of the page.
        subtitle: what it is about, in a line.
        badge: the status; empty is none.
        sections: the content.
        with_charts: whether it needs the library that draws charts.
    """
    status = element("span", badge, class_=f"badge {badge}") if badge else None
    style = [_asset("report.css"), _map_colours()]
    scripts = [_asset("report.js")]
    if with_charts:
        style.insert(0, _asset("uplot/uPlot.min.css"))
        scripts.insert(0, _asset("uplot/uPlot.iife.min.js"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        [element("style", Html(text)) for text in style],
    )
    header = element(
        "header",
        element("h1", title, " ", status),
        element("p", subtitle, class_="quiet"),
    )
    body = element(
        "body",
        element("main", header, sections),
        element("footer", element("p", "Made by gradcli report.", class_="quiet")),
        [element("script", Html(text)) for text in scripts],
    )
    return html(Html("<!doctype html>\n"), element("html", head, body, lang="en"), "\n")


@cache
def _asset(name: str) -> str:
    """Return a file of this folder; nothing of a run's is in it."""
    return (files("gradcli.views.report") / name).read_text(encoding="utf-8")


def _map_colours() -> str:
    scale = colours()
    cells = "".join(f".c{place}{{fill:{colour}}}" for place, colour in enumerate(scale))
    return f"{cells}.ramp{{background:linear-gradient(90deg,{','.join(scale)})}}"
