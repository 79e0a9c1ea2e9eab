"""How work goes on, as a terminal or a log shows it."""
