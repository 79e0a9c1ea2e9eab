"""YAML text to nodes that know their place, and the slips of a hand in it."""
