"""What goes over the wire: where a request may go, the paid POST, free requests, and a download."""
