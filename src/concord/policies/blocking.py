"""Running what is asynchronous to its end, from wherever one is, and several of them together."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["blocking", "together"]

_T = TypeVar("_T")


def blocking(begin: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run to the end and return what comes of it.

    Where a loop is running already, as in a notebook, it runs on a thread of its own, with a loop of its own.
    Whoever interrupts the waiting interrupts the work, and waits for it to clean up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(begin())
    done: Future[_T] = Future()
    begun: Future[Callable[[], object]] = Future()

    async def work() -> _T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        begun.set_result(lambda: loop.call_soon_threadsafe(task.cancel))
        return await begin()

    def run() -> None:
        try:
            done.set_result(asyncio.run(work()))
        except BaseException as error:
            done.set_exception(error)

    thread = threading.Thread(target=run, name="concord-endpoint")
    thread.start()
    try:
        return done.result()
    except BaseException:
        with suppress(RuntimeError):  # the work is over, and its loop closed
            begun.result()()
        raise
    finally:
        thread.join()


async def together(jobs: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """All results, in order; where one fails, the others are cancelled and that error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks: list[Awaitable[_T]] = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [await task for task in tasks]
