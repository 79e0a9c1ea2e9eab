"""The services' official clients, unmodified, against the sandbox."""
