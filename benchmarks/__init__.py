"""How fast and how frugal callsheet is, beside what people would use instead: `scripts/bench`."""
