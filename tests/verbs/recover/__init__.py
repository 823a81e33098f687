"""What is left after damage."""
