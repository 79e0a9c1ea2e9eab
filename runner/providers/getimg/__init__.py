"""getimg.ai."""
