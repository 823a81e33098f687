"""The formats, held to what is written about them and to what was released."""
