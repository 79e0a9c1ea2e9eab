"""One origin with one key: its pace, its paid submits, its evidence."""
