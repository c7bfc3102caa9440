"""Batches made in a thread of their own while the network trains on the last ones.

Batch k depends on the seed, k and the size of its crops alone, so interrupted training goes on with the batches it
would have seen. Rendering costs more than dressing, so each rendered view is used a few times, dressed anew.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, Full, Queue
from typing import Protocol, runtime_checkable

import numpy as np

from maquette.estimator.batches import Batch, Scene, joined
from maquette.estimator.dressing import Dressing, Pool
from maquette.estimator.viewpoints import ViewRange


@runtime_checkable
class Source(Protocol):
    """Something else that crops with truth come from; the same numbers from `rng` give the same crops."""

    def draw_batch(self, count: int, size: int, pixels: int, dressing: Dressing, rng: np.random.Generator) -> Batch:
        """`count` crops of `size` pixels a side with `pixels` points each."""
        ...


@dataclass(frozen=True)
class Mixed:
    """So many crops of every batch come from this source, and not from rendered views."""

    source: Source
    crops: int


class BatchMaker:
    """Batch k of a seed, with crops of a given size: rendered views, and crops of other sources among them."""

    def __init__(
        self,
        scene: Scene,
        views: ViewRange,
        dressing: Dressing,
        batch: int,
        pixels: int,
        reuse: int,
        seed: int,
        others: Sequence[Mixed] = (),
    ) -> None:
        self._scene, self._views, self._dressing = scene, views, dressing
        self._others = tuple(others)
        self._batch = batch - sum(other.crops for other in others)
        self._pixels, self._reuse, self._seed = pixels, reuse, seed
        self._pool_size = 4 * self._batch
        self._pool: tuple[tuple[int, int], Pool] | None = None

    def __call__(self, batch_idx: int, size: int) -> Batch:
        round_idx, turn = divmod(batch_idx, 4 * self._reuse)
        parts = [self._rendered(round_idx, turn, size)] if self._batch else []
        for number, other in enumerate(self._others, start=1):
            rng = np.random.default_rng([self._seed, round_idx, self._reuse + turn, number])
            parts.append(other.source.draw_batch(other.crops, size, self._pixels, self._dressing, rng))
        return joined(parts)

    def _rendered(self, round_idx: int, turn: int, size: int) -> Batch:
        """Views of the pool, which lasts `reuse` times four batches."""
        if self._pool is None or self._pool[0] != (round_idx, size):
            rng = np.random.default_rng([self._seed, round_idx])
            pool = self._scene.draw_pool(self._pool_size, size, self._views, rng)
            self._pool = ((round_idx, size), pool)
        epoch, part = divmod(turn, 4)
        order = np.random.default_rng([self._seed, round_idx, epoch]).permutation(self._pool_size)
        chosen = order[part * self._batch : (part + 1) * self._batch]
        rng = np.random.default_rng([self._seed, round_idx, self._reuse + turn])
        return self._scene.draw_batch(self._pool[1], chosen, self._pixels, self._dressing, rng)


class Feeder:
    """Batches `first`, `first` + 1, ... from a thread, inside `with`; an error there is raised by `next_batch`.

    `size_of` says how large the crops of a batch are, when it is made.
    """

    def __init__(self, make: BatchMaker, size_of: Callable[[int], int], first: int, ahead: int = 6) -> None:
        self._make, self._size_of, self._first = make, size_of, first
        self._queue: Queue[Batch | BaseException] = Queue(ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # Long enough for the batch in hand; not for ever, because Ctrl-C can come while a lock is taken.
        self._thread.join(timeout=20.0)

    def next_batch(self) -> Batch:
        while True:
            try:
                item = self._queue.get(timeout=1.0)
            except Empty:
                if not self._thread.is_alive():
                    raise RuntimeError("the thread that makes training batches has ended") from None
                continue
            if isinstance(item, BaseException):
                raise item
            return item

    def _work(self) -> None:
        batch_idx = self._first
        try:
            while not self._stop.is_set():
                self._put(self._make(batch_idx, self._size_of(batch_idx)))
                batch_idx += 1
        except Exception as error:
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except Full:
                continue
