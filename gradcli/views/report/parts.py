"""Parts that pages share: tables, key numbers, findings, commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gradcli.notation import numbers
from gradcli.records import Finding
from gradcli.views.findings import by_severity, certainty_phrase
from gradcli.views.report.contents import Making
from gradcli.views.report.html import Content, Html, element, html
from gradcli.views.table import Column

#: The mark of a severity: a shape, since colour alone says nothing to many readers.
_SHAPES = {"error": "\N{BLACK DIAMOND}", "warning": "\N{BLACK UP-POINTING TRIANGLE}", "info": "i"}


def section(name: str, title: str, *contents: Content) -> Html:
    """Return a section with its heading; nothing if it has no content."""
    inside = html(*contents)
    if not inside:
        return inside
    heading = element("h2", title, id=f"{name}-heading")
    return element("section", heading, inside, id=name, aria_labelledby=f"{name}-heading")


def key_numbers(pairs: Iterable[tuple[str, str]]) -> Html:
    """Return named numbers, large."""
    return element(
        "dl",
        [element("div", element("dt", name), element("dd", value)) for name, value in pairs],
        class_="numbers",
    )


def facts(pairs: Mapping[str, Content]) -> Html:
    """Return named facts, one per line; nothing without any."""
    if not pairs:
        return html()
    rows = [[element("dt", name), element("dd", value)] for name, value in pairs.items()]
    return element("dl", rows, class_="facts")


def paragraphs(texts: Iterable[str], class_: str | None = None) -> Html:
    """Return texts, each as a paragraph."""
    return html(*(element("p", text, class_=class_) for text in texts))


def column_table(columns: Sequence[Column], caption: str, *, sortable: bool = False) -> Html:
    """Return the columns that a terminal shows as a table; the first one names the row.

    Args:
        columns: all of the same length.
        caption: what the rows are.
        sortable: whether the reader can sort it by any column.
    """
    titles = [f"{column.above} {column.title}".strip() for column in columns]
    rows = list(zip(*(column.cells for column in columns), strict=True))
    return data_table(titles, rows, caption, sortable=sortable)


def data_table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    *,
    sortable: bool = False,
) -> Html:
    """Return a table of text; columns of numbers are aligned to the right."""
    numeric = [all(_is_number(row[place]) for row in rows) for place in range(len(titles))]
    head = element(
        "tr",
        [
            element(
                "th",
                element("button", title, type="button") if sortable else title,
                scope="col",
                class_="number" if is_number else None,
            )
            for title, is_number in zip(titles, numeric, strict=True)
        ],
    )
    body = [
        element(
            "tr",
            [
                element(
                    "th" if place == 0 else "td",
                    cell,
                    scope="row" if place == 0 else None,
                    class_="number" if numeric[place] else None,
                )
                for place, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", head),
            element("tbody", body),
            class_="sortable" if sortable else None,
        ),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def findings_list(findings: Sequence[Finding], nothing: str) -> Html:
    """Return findings, the most severe first, each with its evidence and what to try.

    Args:
        findings: of a run.
        nothing: what to say without any.
    """
    if not findings:
        return element("p", nothing)
    return element("ol", [_finding(one) for one in by_severity(findings)], class_="findings")


def command(text: str, what: str = "") -> Html:
    """Return a command that can be copied.

    Args:
        text: to type.
        what: it is for; empty if that is clear.
    """
    button = element("button", "Copy", type="button", class_="copy", data_copy=text)
    return element(
        "div",
        element("p", what) if what else None,
        element("div", element("code", text), button, class_="command"),
    )


def making_section(making: Making) -> Html:
    """Return how to make it again, and of what it was made."""
    config = element(
        "details",
        element("summary", "The resolved config"),
        element("pre", element("code", making.config), tabindex="0"),
    )
    return section(
        "reproduce",
        "Make it again",
        [command(text, what) for text, what in making.commands],
        facts({name: value for name, value in making.facts.items() if value}),
        config if making.config else None,
    )


def found_in_layers(findings: Sequence[Finding]) -> dict[str, str]:
    """Return what was found in layers, by their names."""
    found: dict[str, list[str]] = {}
    for one in findings:
        if one.layer and one.code != "healthy":
            found.setdefault(one.layer, []).append(one.code)
    return {layer: ", ".join(dict.fromkeys(codes)) for layer, codes in found.items()}


def _finding(finding: Finding) -> Html:
    place = f" in {finding.layer}" if finding.layer else ""
    cause = f", follows from {finding.follows_from}" if finding.follows_from else ""
    severity = "" if finding.severity == "info" else f"{finding.severity}: "
    sure = certainty_phrase(finding)
    evidence = {
        name.replace("_", " "): numbers.norm(value) if isinstance(value, float) else str(value)
        for name, value in finding.evidence.items()
    }
    advice: Content = None
    if finding.override is not None:
        advice = command(finding.override, "Try:")
    elif finding.mend:
        advice = element("p", element("strong", "Try: "), finding.mend)
    return element(
        "li",
        element(
            "h3",
            element("span", _SHAPES[finding.severity], class_="shape", aria_hidden="true"),
            f" {severity}{finding.code}{place}{cause}",
        ),
        element("p", finding.message),
        facts(evidence),
        element("p", f"The rule: {finding.threshold}", class_="quiet"),
        element("p", f"{sure[0].upper()}{sure[1:]}.", class_="quiet") if sure else None,
        advice,
        class_=f"finding {finding.severity}",
        data_layer=finding.layer,
        tabindex="0" if finding.layer else None,
    )


def _is_number(cell: str) -> bool:
    text = cell.strip().removesuffix("%").removesuffix("(end)").replace(",", "").strip()
    if text in ("", numbers.ABSENT):
        return True
    try:
        float(text.lstrip("<>"))
    except ValueError:
        return False
    return True
