"""`${{ ... }}`: the language, its filters and dates, and the paths that are made of it."""
