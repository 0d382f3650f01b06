"""A network as an ordinary torch module with readable, generated Python."""
