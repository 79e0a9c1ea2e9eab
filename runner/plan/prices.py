"""Whose prices an estimate goes by, where they are neither the job's own nor the public ones."""

from __future__ import annotations

from collections.abc import Iterator

from runner.job.model import Job
from runner.job.models_lock import LOCK_FILE
from runner.project import PROJECT_FILE


def price_words(job: Job) -> Iterator[str]:
    """One sentence for each file that sets prices of this job's models."""
    models = dict.fromkeys(
        (job.accounts[choice.account].provider.name, choice.id)
        for step in job.steps.values()
        if step.price is None
        for choice in step.models
    )
    of_project = dict.fromkeys(model for _, model in models if job.project_file.price_of(model))
    if of_project:
        yield f"prices from {PROJECT_FILE}: {', '.join(of_project)}"
    for provider in dict.fromkeys(provider for provider, _ in models):
        own = [model for each, model in models if each == provider and model not in of_project]
        published = [model for model in own if job.models_lock.rates(provider, model)]
        if published:
            asked = job.models_lock.services[provider].asked[:10]
            yield f"prices from {LOCK_FILE}, asked on {asked}: {', '.join(published)}"
