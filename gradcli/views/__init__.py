"""Views: records in, pixels or text out.

One folder per command (`train`, `compare`, `inspect`, `runs`), `draw` for images and `json_output`
for machines. The modules next to them are what screens share: layout (`table`, `labelled`,
`sparkline`), and how findings, headings, downloads, the menu and errors look. How a number is
written is in `notation`. `console` alone decides where a screen goes, and `ascii` what a stream
gets if it cannot encode a symbol. Import from the modules: showing an error must not load every
screen.
"""
