"""The workers of a Dask cluster, which may be other machines that see the same files."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import pickle
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runner import __version__
from runner.errors import UsageError, WorkersError
from runner.plural import count
from runner.redact import printable
from runner.work.crew import WorkerDiedError

if TYPE_CHECKING:
    from distributed import Future as DaskFuture

_ITEMS_A_CALL = 64
"""A call costs Dask 1 to 6 ms, most of it in its scheduler, which has one core."""
_SECONDS_TO_CONNECT = 30
_SECONDS_TO_GREET = 10
_SECONDS_WITHOUT_WORKERS = 60.0
"""A nanny starts a new worker within some seconds."""
_SECONDS_BETWEEN_LOOKS = 2.0
_MOST_TOLD = 5
_HEAD = 1 << 16


@dataclass(frozen=True, slots=True)
class Terms:
    """What a worker has to have: our version, and the file `witness`, an absolute path, with these bytes.

    `head` is the sha256 of the first 64 KiB: the same path may be another project elsewhere.
    """

    version: str
    base: str
    witness: str
    bytes: int
    head: str
    modules: tuple[str, ...]

    @classmethod
    def of(cls, base: Path, witness: Path, modules: tuple[str, ...]) -> Terms:
        return cls(__version__, str(base), str(witness), *_look(witness), modules)

    def broken_by_us(self) -> str:
        """Which of the terms this process does not meet, as what it does; empty where it meets all."""
        if self.version != __version__:
            return f"has callsheet {__version__}, and here it is {self.version}"
        for name in self.modules:
            if importlib.util.find_spec(name) is None:
                return f"has no module `{name}`, which is installed here"
        try:
            found = _look(Path(self.witness))
        except OSError:
            return f"does not see {self.base}"
        return "" if found == (self.bytes, self.head) else f"sees something else at {self.base}"


def _look(witness: Path) -> tuple[int, str]:
    with witness.open("rb") as file:
        return os.fstat(file.fileno()).st_size, hashlib.sha256(file.read(_HEAD)).hexdigest()


@dataclass(frozen=True, slots=True)
class Unfit:
    """A worker that must not do the work, and why."""

    host: str
    why: str


def greet(terms: Terms) -> Unfit | None:
    """Runs at a worker."""
    why = terms.broken_by_us()
    return Unfit(socket.gethostname(), why) if why else None


def perform(terms: Terms, packed: bytes) -> Any:
    """Runs at a worker, which may have come since all were greeted."""
    unfit = greet(terms)
    if unfit is not None:
        return unfit
    function, *arguments = pickle.loads(packed)  # noqa: S301  as Dask itself unpickles what it is sent
    return function(*arguments)


class DaskWorkers:
    """A crew; see `Crew`."""

    most_items = _ITEMS_A_CALL

    def __init__(self, address: str, terms: Terms) -> None:
        self.address = address
        self._terms = terms
        self._client = _connect(address)
        self._looked = self._with_workers = time.monotonic()
        self._slots = 1
        try:
            self._wait_for_workers()
            self._greet()
        except BaseException:
            self.__exit__()
            raise

    @property
    def slots(self) -> int:
        now = time.monotonic()
        if now - self._looked > _SECONDS_BETWEEN_LOOKS:
            self._look(now)
        return self._slots

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> DaskFuture[Any]:
        # packed by us: Dask would look for its own collections in each argument
        packed = pickle.dumps((function, *arguments))
        # no executor of Dask's: it breaks over a result whose worker dies before it is fetched
        submitted: DaskFuture[Any] = self._client.submit(perform, self._terms, packed, pure=False, retries=0)
        return submitted

    def result(self, future: DaskFuture[Any]) -> Any:
        from distributed import KilledWorker

        while True:
            try:
                found = future.result(_SECONDS_BETWEEN_LOOKS)
            except TimeoutError:
                self._look(time.monotonic())
                continue
            except KilledWorker as error:
                raise WorkerDiedError("a worker died over it, or several") from error
            except CancelledError as error:
                raise self._gone() from error
            except (ImportError, AttributeError) as error:
                raise self._refused(
                    [f"a worker cannot load callsheet {__version__}: {_first_line(error)}"]
                ) from error
            if isinstance(found, Unfit):
                raise self._refused([f"a worker at {found.host} {found.why}"])
            return found

    def _look(self, now: float) -> None:
        """How many there are. Raises WorkersError where the scheduler or all of them are gone for long."""
        self._looked = now
        if self._client.status == "closed":  # Dask has tried for as long as to connect
            raise self._gone()
        if self._client.status != "running":
            return
        self._slots = sum(self._client.nthreads().values())
        if self._slots:
            self._with_workers = now
        elif now - self._with_workers > _SECONDS_WITHOUT_WORKERS:
            raise WorkersError(
                f"the Dask scheduler at {self.address} has had no worker for"
                f" {_SECONDS_WITHOUT_WORKERS:.0f} s",
                hint=f"dask worker {self.address}",
            )
        self._slots = max(1, self._slots)

    def _wait_for_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_SECONDS_TO_CONNECT)
        except TimeoutError as error:
            raise WorkersError(
                f"the Dask scheduler at {self.address} has no workers", hint=f"dask worker {self.address}"
            ) from error
        self._look(time.monotonic())

    def _greet(self) -> None:
        """Asks each worker; one that does not answer in time is asked with its first call."""
        asked = {
            worker: self._client.submit(greet, self._terms, workers=[worker], pure=False, priority=10)
            for worker in self._client.nthreads()
        }
        told: list[str] = []
        until = time.monotonic() + _SECONDS_TO_GREET
        for worker, future in asked.items():
            try:
                unfit = future.result(max(0.01, until - time.monotonic()))
            except TimeoutError:
                continue
            except Exception as error:  # whatever its Python says of our function
                told.append(f"worker {worker} cannot load callsheet {__version__}: {_first_line(error)}")
            else:
                if unfit is not None:
                    told.append(f"worker {worker} at {unfit.host} {unfit.why}")
        if told:
            raise self._refused(told)

    def _refused(self, told: list[str]) -> WorkersError:
        more = [f"and {count(len(told) - _MOST_TOLD, 'worker')} more"] if len(told) > _MOST_TOLD else []
        return WorkersError(
            "; ".join([*told[:_MOST_TOLD], *more]),
            hint=f"each worker needs callsheet {__version__}, and sees the project at the same path",
        )

    def _gone(self) -> WorkersError:
        return WorkersError(f"the Dask scheduler at {self.address} has gone", hint="start it, then run again")

    def __enter__(self) -> DaskWorkers:
        return self

    def __exit__(self, *_: object) -> None:
        # the scheduler may have gone, and Dask says that in many ways
        with _quiet(), contextlib.suppress(Exception):
            self._client.close(timeout=1)


def _first_line(error: Exception) -> str:
    return printable(f"{type(error).__name__}: {error}".split("\n")[0])


def _connect(address: str) -> Any:
    try:
        # an optional extra that takes a second to load
        from distributed import Client
    except ImportError as error:
        raise UsageError(
            f"--workers {address} needs the extra `cluster`", hint="pip install 'callsheet[cluster]'"
        ) from error
    # what matters of it is told by us
    for name in [*logging.root.manager.loggerDict]:
        if name.partition(".")[0] in {"asyncio", "distributed", "tornado"}:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        with _quiet():
            return Client(  # type: ignore[no-untyped-call]  # as distributed ships it
                address, timeout=_SECONDS_TO_CONNECT, set_as_default=False, name="callsheet"
            )
    except (OSError, TimeoutError, ValueError) as error:
        raise WorkersError(
            f"no Dask scheduler answers at {address}", hint="`dask scheduler` says its address when it starts"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Dask's warnings of other versions of its own parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
