"""Batches made in threads of their own while the network trains on the last ones.

Batch k depends on the seed, k and the size of its crops alone, so interrupted training goes on with the batches it
would have seen, and any number of threads makes the same. Rendering costs more than dressing, so each rendered view
is used a few times, dressed anew.
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

# Batches of one set of rendered views, each time they are used.
PARTS = 4


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
        self._pool_size = PARTS * self._batch
        self._pool: tuple[tuple[int, int], Pool] | None = None

    def __call__(self, batch_idx: int, size: int) -> Batch:
        round_idx, turn = divmod(batch_idx, PARTS * self._reuse)
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
        epoch, part = divmod(turn, PARTS)
        order = np.random.default_rng([self._seed, round_idx, epoch]).permutation(self._pool_size)
        chosen = order[part * self._batch : (part + 1) * self._batch]
        rng = np.random.default_rng([self._seed, round_idx, self._reuse + turn])
        return self._scene.draw_batch(self._pool[1], chosen, self._pixels, self._dressing, rng)


class MixedMaker:
    """Batch k of several objects: as many crops of each, in their order."""

    def __init__(self, makers: Sequence[BatchMaker]) -> None:
        self._makers = makers

    def __call__(self, batch_idx: int, size: int) -> Batch:
        return joined([make(batch_idx, size) for make in self._makers])


Make = Callable[[int, int], Batch]


class Feeder:
    """Batches `first`, `first` + 1, ... from threads, inside `with`; an error there is raised by `next_batch`.

    One thread a maker: the first makes batches 0 to `block` - 1, the second the next `block`, and so on in turn, so
    that each finishes the views it rendered. `size_of` says how large the crops of a batch are, when it is made.
    """

    def __init__(
        self, makers: Sequence[Make], size_of: Callable[[int], int], first: int, block: int = 1, ahead: int = 6
    ) -> None:
        self._makers, self._size_of, self._first, self._block = makers, size_of, first, block
        self._next = first
        # The others work on their blocks while one is emptied.
        depth = ahead if len(makers) == 1 else max(ahead, block)
        self._queues: list[Queue[Batch | BaseException]] = [Queue(depth) for _ in makers]
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(idx,), name=f"batches {idx}", daemon=True)
            for idx in range(len(makers))
        ]

    def __enter__(self) -> "Feeder":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            # Long enough for the batch in hand; not for ever, because Ctrl-C can come while a lock is taken.
            thread.join(timeout=20.0)

    def next_batch(self) -> Batch:
        idx = self._worker_of(self._next)
        while True:
            try:
                item = self._queues[idx].get(timeout=1.0)
            except Empty:
                if not self._threads[idx].is_alive():
                    raise RuntimeError("the thread that makes training batches has ended") from None
                continue
            if isinstance(item, BaseException):
                raise item
            self._next += 1
            return item

    def _worker_of(self, batch_idx: int) -> int:
        return batch_idx // self._block % len(self._makers)

    def _work(self, idx: int) -> None:
        batch_idx = self._first
        try:
            while not self._stop.is_set():
                if self._worker_of(batch_idx) == idx:
                    self._put(idx, self._makers[idx](batch_idx, self._size_of(batch_idx)))
                batch_idx += 1
        except Exception as error:
            self._put(idx, error)

    def _put(self, idx: int, item: Batch | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._queues[idx].put(item, timeout=0.2)
            except Full:
                continue
