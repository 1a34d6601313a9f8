"""``python -m chiasm`` is the command ``chiasm``."""

from chiasm.cli import main

if __name__ == "__main__":
    main()
