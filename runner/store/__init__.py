"""Files on this machine's disk: inputs, downloads, results."""
