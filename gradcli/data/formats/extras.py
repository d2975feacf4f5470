"""What is said if the library that reads a format is not installed."""

from __future__ import annotations

from gradcli.errors import UserError


def not_installed(library: str, extra: str, error: ImportError) -> UserError:
    """Return the error that says how to install a library.

    Args:
        library: its name, as people write it.
        extra: the extra of gradcli that installs it.
        error: why it could not be imported.
    """
    return UserError(
        f"This format needs {library}, which cannot be imported: {error}.",
        hint=f"pip install 'gradcli[{extra}]'",
    )
