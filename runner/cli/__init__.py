"""The command line: one file per group of verbs; `console` is the only place that prints."""
