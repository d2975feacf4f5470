"""What is said if a library that something needs is not installed."""

from __future__ import annotations

from gradcli.errors import UserError


def not_installed(
    library: str, extra: str, error: ImportError, *, what: str, where: str | None = None
) -> UserError:
    """Return the error that says how to install a library.

    Args:
        library: its name, as people write it.
        extra: the extra of gradcli that installs it.
        error: why it could not be imported.
        what: needs it, such as `This format`.
        where: the key that asks for it.
    """
    return UserError(
        f"{what} needs {library}, which cannot be imported: {error}.",
        where=where,
        hint=f"pip install 'gradcli[{extra}]'",
    )
