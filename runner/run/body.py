"""What is sent for a task: its request, the bytes of its inputs, and what the task before it made."""

from __future__ import annotations

import functools

from runner.lane.submit import Body
from runner.plan.task import Task
from runner.run.tools import Tools
from runner.run.upstream import Resolved, resolve
from runner.store.inputs import InputStore


async def encode(tools: Tools, task: Task, tag: int | None, attempt_id: str) -> Body:
    """Raises NothingSentError where an input, or what the task before it made, is not as it was."""
    resolved = Resolved(task)
    if task.upstream is not None:
        resolved = await tools.commits.read(lambda reader: resolve(task, reader, tools.project.base))
    callback_url = tools.hints.callback_url(attempt_id) if tools.hints else None
    inputs = InputStore(tools.project.inputs_dir)
    make = functools.partial(
        tools.provider.body,
        resolved.task.request,
        resolved.task.inputs,
        inputs.read,
        tag=tag,
        callback_url=callback_url,
    )
    content = await tools.machine.threads.run(make) if resolved.task.inputs else make()
    return Body(content, resolved.taken)
