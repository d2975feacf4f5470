"""Views: records in, pixels or text out.

One folder per command (`train`, `compare`, `inspect`, `runs`), `draw` for images and `json_output`
for machines. The modules beside them are what the screens share: how numbers, tables, findings,
headings and errors are written. `console` alone decides where a screen goes, and `ascii` what a
stream gets that cannot encode it. Import from the modules: an error must not wait for all screens.
"""
