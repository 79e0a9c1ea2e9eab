"""What holds for all jobs of a project: readers of callsheet.yaml, models.lock.yaml and the environment."""
