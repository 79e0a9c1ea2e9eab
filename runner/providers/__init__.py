"""One file per service behind one Protocol."""
