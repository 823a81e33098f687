"""What callers write, as mypy and pyright see it; ``[tool.mypy]`` and ``[tool.pyright]`` say how."""
