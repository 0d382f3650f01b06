"""What turns a network into something that runs; each backend only reads graphs."""
