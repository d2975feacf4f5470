"""What all pictures share."""

from gradcli.views.draw.panels import COLORS, MARKERS, color_and_marker


def test_no_two_lines_share_colour_and_marker():
    styles = [color_and_marker(index) for index in range(len(COLORS) * len(MARKERS))]
    assert len(set(styles)) == len(styles)
    assert [color for color, _ in styles[: len(COLORS)]] == list(COLORS)
