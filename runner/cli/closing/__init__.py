"""What a verb says and does once its work has ended."""
