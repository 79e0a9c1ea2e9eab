"""What version 2 of Replicate's client does, in a process that imports it: `replicate_2.py URL [create]`.

With `create` it makes one prediction, with all settings as the client has them by itself.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from replicate import Replicate

MODEL = "bytedance/seedance-2.0"
ASKED = {"prompt": "A cup of tea", "duration": 4, "resolution": "480p"}


def create(url: str) -> str:
    client = Replicate(bearer_token="test", base_url=f"{url}/v1")
    return client.predictions.create(version=MODEL, input=ASKED).id


def use(url: str) -> dict[str, Any]:
    client = Replicate(bearer_token="test", base_url=f"{url}/v1", max_retries=0, timeout=5.0)
    made = client.predictions.create(version=MODEL, input=ASKED, cancel_after="1h", prefer="wait=2")
    official = client.models.predictions.create(
        model_owner="bytedance", model_name="seedance-2.0", input=ASKED
    )
    listed = [each.id for each in client.predictions.list(created_after=made.created_at)]
    got = client.predictions.get(prediction_id=official.id)
    ended = client.predictions.cancel(prediction_id=official.id)
    return {
        "status": made.status,
        "input": got.input,
        "listed": listed == [official.id, made.id],
        "cancelled": ended.status,
    }


if __name__ == "__main__":
    print(json.dumps(create(sys.argv[1]) if sys.argv[2:] else use(sys.argv[1])))
