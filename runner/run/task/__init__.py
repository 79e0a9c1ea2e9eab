"""One task: where it stands before anything is sent, and its life from intent to files."""
