"""SQLite: the only writer of state."""
