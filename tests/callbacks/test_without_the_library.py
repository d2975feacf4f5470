"""Importing a callback without its library is one error, which names the extra."""

import pytest


@pytest.mark.parametrize(
    ("module", "library", "absent"),
    [
        ("lightning", "Lightning", ("lightning", "pytorch_lightning")),
        ("transformers", "Transformers", ("transformers",)),
    ],
)
def test_the_import_names_the_extra(spawn, module, library, absent):
    code = f"import sys; sys.modules.update(dict.fromkeys({absent}))\nimport gradcli.{module}"
    answer = spawn("-c", code)
    assert answer.code == 1
    last = answer.err.partition("UserError: ")[2]
    assert last.startswith(f"gradcli.{module} needs {library}, which cannot be imported: ")
    assert last.endswith(f"try: pip install 'gradcli[{module}]'\n")
