"""A chart on the screen: its title in words, and the plot."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.reactive import reactive
from textual.widgets import Static
from textual_plot import AxisFormatter, HiResMode, PlotWidget

from gradcli.views.words import Text
from gradcli.watch.chart_lines import (
    Chart,
    Quantity,
    drawn_points,
    far_ends,
    step_label,
    symbol_places,
    tick_label,
    tick_values,
    value_limits,
    within_edges,
)

#: Okabe and Ito's palette, which readers with any colour vision tell apart: on dark, on light.
ON_DARK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")
ON_LIGHT = ("#0072B2", "#D55E00", "#00694C", "#A0447A", "#8A6D00", "#000000")
_CELLS_PER_STEP_TICK, _LINES_PER_TICK = 9, 3


class _Ticks(AxisFormatter):
    """The ticks of an axis, as few as there is room for."""

    def __init__(self, *, is_steps: bool = False) -> None:
        self.is_steps = is_steps
        self.is_log = False
        self.most = 3

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Return where ticks stand."""
        return tick_values(min_, max_, self.most, is_log=self.is_log)

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """Write the ticks."""
        if self.is_steps:
            return [step_label(value) for value in ticks]
        return [tick_label(value, is_log=self.is_log) for value in ticks]


class _Plot(PlotWidget):
    """A plot with narrow margins, for three of them fit beside each other."""

    margin_top = reactive(0)
    margin_bottom = reactive(1)
    margin_left = reactive(8)

    DEFAULT_CSS = """
    _Plot > .plot--axis, _Plot > .plot--tick { color: $foreground 60%; text-style: none; }
    """


class ChartPanel(Vertical):
    """A chart, with a title that says the last values.

    Args:
        quantity: what it shows.
    """

    DEFAULT_CSS = """
    ChartPanel { width: 1fr; }
    ChartPanel > Static { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    ChartPanel > .missing { height: 1fr; content-align: center middle; color: $text-muted; }
    ChartPanel > _Plot { height: 1fr; }
    """

    def __init__(self, quantity: Quantity) -> None:
        super().__init__(id=f"chart-{quantity}")
        self.quantity = quantity
        self.chart = Chart(quantity, "", (), False, "reading ...")
        self._is_constant = False
        self._steps, self._values = _Ticks(is_steps=True), _Ticks()

    def compose(self) -> ComposeResult:
        """Lay out the title and the plot."""
        yield Static(Text(self.quantity), classes="title")
        yield Static(Text(""), classes="legend")
        yield Static(Text(""), classes="missing")
        plot = _Plot()
        plot.set_x_formatter(self._steps)
        plot.set_y_formatter(self._values)
        yield plot

    def on_mount(self) -> None:
        """Draw what is known by now."""
        self._draw()

    def on_resize(self) -> None:
        """Choose the ticks anew."""
        self._draw()

    def show(self, chart: Chart) -> None:
        """Draw another chart in place of the last one; where a user has zoomed, it stays so."""
        self.chart = chart
        if self.is_mounted:
            self._draw()

    def _draw(self) -> None:
        chart, plot = self.chart, self.query_one(_Plot)
        self.query_one(".title", Static).update(Text(chart.title, "bold"))
        legend = self.query_one(".legend", Static)
        legend.update(Text(chart.legend))
        legend.display = bool(chart.legend)
        missing = self.query_one(".missing", Static)
        missing.update(Text(chart.missing))
        missing.display, plot.display = bool(chart.missing), not chart.missing
        if chart.missing:
            return
        self._values.is_log = chart.is_log
        self._steps.most = max((self.size.width - 10) // _CELLS_PER_STEP_TICK, 1)
        self._values.most = max((self.size.height - 4) // _LINES_PER_TICK, 2)
        plot.clear()
        limits = value_limits(chart)
        if limits or self._is_constant:
            plot.set_ylimits(*(limits or (None, None)))
        self._is_constant = limits is not None
        # The far ends are drawn on the frame, and so not at all; but they set the scale.
        right, top = far_ends(chart.lines)
        plot.scatter([right], [top], marker=" ")
        colors = ON_DARK if self.app.current_theme.dark else ON_LIGHT
        for line, color in zip(within_edges(chart.lines), colors, strict=False):
            if not line.symbol or line.symbol.isupper():
                through = drawn_points(line, 2 * self.size.width)
                plot.plot(through.x, through.y, line_style=color, hires_mode=HiResMode.BRAILLE)
            if line.symbol:
                places = symbol_places(len(line.x))
                plot.scatter(
                    line.x[places], line.y[places], marker=line.symbol, marker_style=f"bold {color}"
                )
