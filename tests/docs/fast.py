"""`callsheet` with rehearsals that go fast: the same program, smaller pictures, tasks that end soon.

A page's rehearsals would otherwise take some minutes in all.
"""

from __future__ import annotations

import sys

from runner.__main__ import main
from runner.sandbox.config import SandboxConfig

LATENCY = (0.05, 0.2)

if __name__ == "__main__":
    SandboxConfig.__init__.__kwdefaults__["scale"] = 0.1
    if sys.argv[1:2] == ["sandbox"]:
        sys.argv[2:2] = ["--latency", "{}..{}".format(*LATENCY), "--scale", "0.1"]
    sys.exit(main())
