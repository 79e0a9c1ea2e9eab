"""Free questions to services, outside of any run: what they sell, what a key has left, and what they list."""
