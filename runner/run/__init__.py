"""A run from plan to files."""
