"""The calls of Clipworks."""

from __future__ import annotations

from urllib.parse import quote

from callsheet_clipworks.outcomes import SUBMITS
from runner.http.answers import Answer, clean, read_failure, read_object, read_url, read_usd, usable_id
from runner.http.outcomes import judge_submit
from runner.http.verdicts import SubmitOutcome
from runner.providers.base import (
    Body,
    Client,
    Generation,
    GenerationStatus,
    RemoteFile,
    RemoteFileKind,
    RemoteTask,
)

CLIPS = "/v1/clips"
STATES = {
    "waiting": GenerationStatus.QUEUED,
    "making": GenerationStatus.RUNNING,
    "ready": GenerationStatus.SUCCEEDED,
    "broken": GenerationStatus.FAILED,
}


class ClipworksClient(Client):
    async def submit(self, body: Body) -> SubmitOutcome:
        return judge_submit(SUBMITS, await self.post(body), wall=self.wall())

    async def get(self, task: RemoteTask) -> Generation:
        return read_clip(await self.free.get(f"{CLIPS}/{quote(task.id, safe='')}")).checked(task.id)

    async def ping(self) -> float | None:
        return (await self.free.get("/v1/account")).server_time


def read_clip(answer: Answer) -> Generation:
    """The clip that a GET tells of. Raises ProviderError."""
    clip = read_object(answer)
    state = clean(clip.get("state"), 100)
    code, message = read_failure(clip.get("error"))
    url = read_url(clip.get("film_url"))
    return Generation(
        id=usable_id(clip.get("id")),
        status=STATES.get(state),
        raw_status=state,
        files=(RemoteFile(RemoteFileKind.VIDEO, url),) if url else (),
        error_code=code,
        error_message=message,
        cost_usd=read_usd(clip.get("price_usd")),
        server_time=answer.server_time,
    )
