"""The command line: one file per verb in `verbs/`; only `console` prints."""
