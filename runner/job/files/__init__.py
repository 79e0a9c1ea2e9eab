"""What a job file reads beside itself: the file that it extends, texts, and the inputs of its requests."""
