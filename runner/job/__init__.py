"""YAML text to Plan. Pure: reads the job file and its inputs, talks to no network."""
