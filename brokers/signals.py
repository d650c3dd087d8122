"""Which middleware listens to which signal. Dramatiq calls each for all of them, around every message, and most do nothing."""

from collections.abc import Sequence

from dramatiq.middleware import Middleware


class Signals:
    """Remembers for a list of middleware who has a method of its own for a signal, until the list changes."""

    def __init__(self) -> None:
        self._known: tuple[list[Middleware], dict[str, tuple[Middleware, ...]]] = ([], {})

    def listeners(self, middleware: list[Middleware], method: str) -> Sequence[Middleware]:
        """Those that do something in ``method``, such as ``before_ack``, in their order."""
        of, known = self._known
        if of != middleware:
            of, known = self._known = (list(middleware), {})
        found = known.get(method)
        if found is None:
            found = known[method] = tuple(each for each in of if _listens(each, method))
        return found


def _listens(middleware: Middleware, method: str) -> bool:
    if method in vars(middleware):
        return True
    own = getattr(type(middleware), method, None)
    return own is None or own is not getattr(Middleware, method, None)
