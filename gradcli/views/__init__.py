"""Views: records in, pixels or text out.

Each module is one picture: `live` and `plain` of a training that runs, `closing_screen` of one that
has ended, `runs` of many, `plots` as images, `jsonout` for machines, `errors` of a mistake;
`compare_live`, `compare_plain`, `compare_ending` and `compare_plots` are those of a comparison,
`inspect_ending`, `inspect_side_by_side` and `inspect_plots` those of an inspection.
`console` alone decides where they go. Import from the modules: a screen of one error must not
wait for all the others.
"""
