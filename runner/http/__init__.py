"""What goes over the wire: where a request may go, and how a file is fetched."""
