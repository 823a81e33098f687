"""The framed container of the original script: a folder in, and back."""
