"""The file of a task: its frames, its MP4, and the signed URL where it lies."""
