"""`python -m gradcli`, and the console script."""

from gradcli.cli.app import main

if __name__ == "__main__":
    main()
