"""The contact sheet: what a manifest says, as a page that a person looks at."""
