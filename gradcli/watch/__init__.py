"""`gradcli watch`: runs in a terminal, live or finished. Reads run directories and nothing else.

Without Textual: what is shown, as plain values.

    run_rows          the rows of the table: filtered, sorted, and as columns
    run_course        one run as it goes on: its samples, its evaluations, how it stands
    chart_lines       the lines of a chart, in the coordinates in which it is drawn
    watched_findings  the diagnosis of a run that may be at work
    watch_sentences   what the screens say in words

With Textual: `watch_app` and its screens. Only `open_watch` is called from elsewhere.
"""
