"""What a search must not contradict: the rest of a comparison's config."""

from __future__ import annotations

from collections.abc import Sequence

from gradcli.config.config_files import ConfigFiles
from gradcli.config.schema import CompareConfig
from gradcli.errors import UserError, nearest


def check_search(
    config: CompareConfig, searched: Sequence[str], arguments: Sequence[str], files: ConfigFiles
) -> None:
    """Check that what a search decides is not decided otherwise.

    Raises:
        UserError: if it is.
    """
    if not searched:
        return
    empty = next((word for word in searched if not word or word.endswith(("=", ":"))), None)
    if empty is not None:
        raise UserError(
            f"'{empty}' has no range." if empty.endswith("=") else "--search names no key.",
            where="--search",
            hint="--search lr,weight_decay=0.001..0.1",
        )
    named = [word.partition("=")[0] for word in searched]
    keys = [key.rpartition(":")[2] for key in named]
    typed = f"--search {','.join(searched)}"
    if method := next((key for key in keys if key in files.options("search")), None):
        others = ",".join(word for word in searched if word != method) or "lr"
        raise UserError(
            f"'{method}' is a way to search; --search names the keys.",
            where="--search",
            hint=f"--search {others} search={method}",
        )
    if repeated := next((key for key in named if named.count(key) > 1), None):
        raise UserError(
            f"'{repeated}' is searched twice.",
            where="--search",
            hint=f"--search {','.join(dict.fromkeys(searched))}",
        )
    for name in (one.rpartition(":")[0] for one in named):
        if name and name not in config.optimizers:
            raise UserError(
                f"'{name}' is not compared, and --search gives it a range of its own.",
                where="--search",
                choices=nearest(name, config.optimizers) or config.optimizers,
                hint=_without(name, searched),
            )
    if config.lrs != "auto":
        raise UserError(
            "--lrs and --search both say which learning rates are tried.",
            where="--lrs",
            hint=f"{typed}, without --lrs; a range is given as --search lr=0.001..0.1",
        )
    if not config.protocol.tune:
        raise UserError(
            "protocol.tune=false leaves nothing to choose, and --search asks for a choice.",
            where="protocol.tune",
            hint=f"{typed}, without protocol.tune=false",
        )
    from gradcli.comparison.protocol import config_key  # imports NumPy, which training does later

    full = {config_key(key): key for key in keys}
    for word in arguments:
        if (key := full.get(word.lstrip("+").partition("=")[0])) is not None:
            raise UserError(
                f"'{word}' sets what the search chooses.",
                where="--search",
                hint=f"--search {key}=LOW..HIGH for another range, or leave out {key}",
            )


def _without(name: str, searched: Sequence[str]) -> str:
    """Return the option without what is said of one optimizer."""
    return f"--search {','.join(one for one in searched if not one.startswith(f'{name}:')) or 'lr'}"
