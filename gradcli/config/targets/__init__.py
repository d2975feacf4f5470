"""From `_target_` to a class, and its keyword arguments checked against its signature."""

from gradcli.config.targets.annotations import accepts, in_words
from gradcli.config.targets.importing import import_module, members_of
from gradcli.config.targets.keyword_arguments import (
    Keyword,
    check_arguments,
    configured_rate,
    keywords,
)
from gradcli.config.targets.resolving import (
    ALLOWED_PACKAGES,
    SHIPPED_CLASSES,
    construct,
    resolve_target,
)

__all__ = [
    "ALLOWED_PACKAGES",
    "SHIPPED_CLASSES",
    "Keyword",
    "accepts",
    "check_arguments",
    "configured_rate",
    "construct",
    "import_module",
    "in_words",
    "keywords",
    "members_of",
    "resolve_target",
]
