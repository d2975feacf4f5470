"""How a number is written and a line is drawn, the same way everywhere.

    numbers  norms, ratios, shares, scores, durations as text
    panels   colours, markers, scales and legends, on axes that the caller passes

It stands below the rooms that speak (`diagnosis`, `probes`, `views`) and knows none of them.
"""
