"""What is left behind for people and programs: manifest, events, report."""
