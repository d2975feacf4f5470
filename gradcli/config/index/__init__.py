"""What the config offers, as a file: options and keys without Hydra, for completion in shells.

key_index   what the file says, and what a folder of the user's own adds
indexing    writes the file, by Hydra's own composition
"""

from gradcli.config.index.key_index import KeyIndex, OptionKeys, RootKeys, key_index

__all__ = ["KeyIndex", "OptionKeys", "RootKeys", "key_index"]
