"""`comment.py NUMBER FILE`: puts FILE on a pull request as a comment, in place of the one that is there.

For action.yml. The first line of FILE, an HTML comment, tells which comment it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

_PER_PAGE = 100
_MOST_PAGES = 50


def put(api: httpx.Client, number: int, body: str) -> None:
    """Writes the comment, or a new one where there is none. Raises httpx.HTTPError."""
    mark = body.partition("\n")[0]
    # only a bot's own: anybody may begin a comment with the same line
    own = next(
        (each for each in _comments(api, number) if each["body"].startswith(mark) and _is_bot(each)), None
    )
    if own is None:
        answer = api.post(f"issues/{number}/comments", json={"body": body})
    else:
        answer = api.patch(f"issues/comments/{own['id']}", json={"body": body})
    answer.raise_for_status()


def _comments(api: httpx.Client, number: int) -> Iterator[dict]:
    for page in range(1, _MOST_PAGES + 1):
        answer = api.get(f"issues/{number}/comments", params={"per_page": _PER_PAGE, "page": page})
        answer.raise_for_status()
        found = answer.json()
        yield from found
        if len(found) < _PER_PAGE:
            return


def _is_bot(comment: dict) -> bool:
    return comment["user"]["type"] == "Bot"


def main() -> None:
    number, file = int(sys.argv[1]), Path(sys.argv[2])
    api = httpx.Client(
        base_url=f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/",
        headers={"Authorization": f"Bearer {os.environ['TOKEN']}", "Accept": "application/vnd.github+json"},
        timeout=30,
    )
    try:
        with api:
            put(api, number, file.read_text(encoding="utf-8"))
    except httpx.HTTPStatusError as error:
        if error.response.status_code not in (401, 403, 404):
            raise
        print(
            f"::notice::no comment: the token may not write one ({error.response.status_code}), as in a pull"
            " request from a fork; the plan is in the summary. Elsewhere: permissions: pull-requests: write"
        )


if __name__ == "__main__":
    main()
