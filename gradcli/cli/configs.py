"""`gradcli configs`: what can be chosen, from the config files alone."""

from __future__ import annotations

from typing import Annotated

import typer

from gradcli.cli.options import ConfigDirOption, JsonOption, write_json

EPILOG = (
    "gradcli configs optimizer shows the keys and values of every optimizer. An option is a YAML "
    "file: a folder of your own (--config-dir) with optimizer/mine.yaml adds optimizer=mine."
)


def configs(
    group: Annotated[
        str | None,
        typer.Argument(
            metavar="[GROUP]",
            help="Show only this group, with the keys of its options.",
            show_default=False,
        ),
    ] = None,
    config_dir: ConfigDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what can be chosen: the options of each group, such as optimizer=adam."""
    from gradcli.config.choices import menu
    from gradcli.views.console import show_result
    from gradcli.views.menu_screen import menu_json, menu_screen

    found = menu(config_dir, group)
    if as_json:
        write_json(menu_json(found))
    else:
        show_result(menu_screen(found))
