"""A job to its plan: every task built once, named and checked."""
