"""Files of a run beside its work: those that go into the store, and those that may go."""
