"""What a task runs through: space, features, search, training, export, report."""
