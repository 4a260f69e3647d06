"""``python -m packstore``: the console script."""

from __future__ import annotations

from packstore.cli import main

if __name__ == "__main__":
    main()
