"""Run gradcli's commands, and print as JSON what they executed, imported, opened and started.

Arguments: a JSON list of commands. Python reports each of these events to the hook before it
happens, whoever causes it; a hook cannot be removed.
"""

import json
import os
import sys

SEEN = {"code": set(), "read": set(), "written": set(), "started": set(), "network": set()}
STARTS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn")
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "urllib.Request")
CHANGES = ("os.remove", "os.rename", "os.truncate", "os.rmdir", "os.link", "os.symlink", "os.mkdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def place(path):
    """Where a path leads, as text; a file descriptor is no path."""
    return "" if isinstance(path, int) else os.path.realpath(os.fsdecode(path))


def hook(event, arguments):
    """Note an event."""
    if event == "exec":
        SEEN["code"].add(arguments[0].co_filename)
    elif event == "import":
        SEEN["code"].add(str(arguments[1] or ""))
    elif event == "open":
        path, _, flags = arguments
        SEEN["written" if flags & WRITING else "read"].add(place(path))
    elif event in CHANGES:
        SEEN["written"].add(place(arguments[0]))
    elif event in STARTS:
        SEEN["started"].add(str(arguments[0]))
    elif event in NETWORK:
        SEEN["network"].add(event)


def main():
    """Run the commands; the first argument lists them."""
    from gradcli.__main__ import main as gradcli

    said = sys.stdout
    codes = []
    sys.stdout = sys.stderr
    for words in json.loads(sys.argv[1]):
        sys.argv = ["gradcli", *words]
        try:
            gradcli()
            codes.append(0)
        except SystemExit as end:
            codes.append(end.code)
    seen = {kind: sorted(places) for kind, places in SEEN.items()}
    said.write(json.dumps({"codes": codes, **seen}))


if __name__ == "__main__":
    sys.addaudithook(hook)
    main()
