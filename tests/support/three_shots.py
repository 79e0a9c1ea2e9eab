"""A job of three steps, each of which begins with the last frame of the one before."""

from __future__ import annotations

THREE_SHOTS = """\
version: 1
name: story
models: [byteplus/seedance-1-0-pro]
request: {resolution: 480p, ratio: 16:9, duration: 4, return_last_frame: true}
run: {poll: {first: 20ms, min: 20ms, max: 50ms}}
steps:
  one:
    seeds: 1..4
    PICK
    content:
      - {type: text, text: FIRST}
    output: out/one-s${{ seed }}.mp4
  two:
    needs: one
    content:
      - {type: text, text: the door opens}
      - {type: image_url, image_url: "${{ needs.one.last_frame }}", role: first_frame}
    output: out/two-s${{ needs.one.seed }}.mp4
  three:
    needs: two
    content:
      - {type: text, text: she leaves}
      - {type: image_url, image_url: "${{ needs.two.last_frame }}", role: first_frame}
    output: out/three-s${{ needs.two.needs.one.seed }}.mp4
"""


def three_shots(pick: str = "x-pick: none", first: str = "a door") -> str:
    text = THREE_SHOTS.replace("PICK", pick).replace("FIRST", first)
    return text.replace(
        "out/three-s${{ needs.two.needs.one.seed }}.mp4", "out/three-s${{ needs.one.seed }}.mp4"
    )
