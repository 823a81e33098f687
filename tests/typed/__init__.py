"""What callers write, as mypy and pyright see it; ``pyproject.toml`` says how they look at it."""
