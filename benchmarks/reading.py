"""f: reading and checking a job file, against `yaml.safe_load` and jsonschema."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import yaml

from benchmarks.measure import Figure, ratio
from runner.job.load import LoadOptions, load_job
from runner.resources import load_schema


def job_text(shots: int) -> str:
    """A long job file: one axis of `shots` entries."""
    lines = [
        "version: 1",
        "models: [byteplus/seedance-1-0-pro]",
        "request: {resolution: 720p, ratio: 16:9, duration: 5}",
        "content:",
        "  - type: text",
        "    text: ${{ shot.prompt }}",
        "matrix:",
        "  shot:",
    ]
    for number in range(shots):
        lines += [
            f"    - id: shot-{number}",
            f"      prompt: A teapot of kind {number} turns slowly on a table of dark wood, steam rises",
            f"      mood: [calm, warm, number {number}]",
        ]
    return "\n".join(lines) + "\n"


def measure(*, shots: int, runs: int) -> list[Figure]:
    """Each reads the same text from memory and checks it against the same schema."""
    text = job_text(shots)
    validator = jsonschema.Draft7Validator(load_schema("job"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        file = root / "job.yaml"
        file.write_text(text, encoding="utf-8")
        options = LoadOptions(environ={})

        def ours() -> None:
            load_job(file, root=root, options=options)

        def pair() -> None:
            loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
            if error := next(validator.iter_errors(loaded), None):
                # 16:9 is 969 to it, which the schema refuses: that it looked is all that counts
                str(error)

        times: dict[str, list[float]] = {"ours": [], "pair": []}
        for number in range(runs + 1):
            for name, function in (("ours", ours), ("pair", pair)):
                took = _timed(function)
                if number:
                    times[name].append(took)
    speed = len(text) / 1e6 / statistics.median(times["ours"])
    return [
        Figure(
            "f",
            f"job file of {len(text) / 1e6:.1f} MB, speed of safe_load + jsonschema",
            ratio(times["pair"], times["ours"]),
            1.5,
        ),
        Figure("f", "MB per second read and checked", speed),
    ]


def _timed(function: Callable[[], None]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started
