"""Plan to finished run: submits once, polls, downloads, and records every step before it matters."""
