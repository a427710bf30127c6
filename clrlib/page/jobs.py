"""One piece of work at a time, in a thread of its own, so that the page goes on listening. Standard library only."""

from __future__ import annotations

import threading


class Job:
    """Work that can be asked to stop: idle -> running -> stopping -> idle. At most one is under way in a process.

    changed  called after each change of `state`, in whichever thread made it
    """

    lock, under_way = threading.Lock(), None

    def __init__(self, changed=lambda: None):
        self.state, self.thread, self.changed = "idle", None, changed

    def start(self, work, wait: bool) -> bool:
        """Call work() in a daemon thread, or with `wait` here; False, and no more, while any job is under way.

        Raises RuntimeError where the system gives no thread, and what `work` raises with `wait`; the job is idle then.
        """
        with Job.lock:
            if Job.under_way is not None:
                return False
            Job.under_way, self.state = self, "running"
        if wait:
            self._carry_out(work)
        else:
            self._begin_thread(work)
        return True

    def stop(self):
        """Ask it to stop; the work looks at `state` after each of its steps."""
        with Job.lock:
            if self.state != "running":
                return
            self.state = "stopping"
        self.changed()

    def join(self, seconds: float) -> bool:
        """Wait for the thread, `seconds` at most; whether it is over."""
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(seconds)
        return self.state == "idle"

    def _begin_thread(self, work):
        self.thread = threading.Thread(target=self._carry_out, args=(work,), name="clrlib-live", daemon=True)
        try:
            self.thread.start()
        except Exception:  # the system gives no more threads; nothing of _carry_out has run
            self.thread = None
            self._end()
            raise

    def _carry_out(self, work):
        try:
            self.changed()
            work()
        finally:
            self._end()

    def _end(self):
        with Job.lock:
            Job.under_way, self.state = None, "idle"
        self.changed()


def from_a_page() -> bool:
    """Whether a page's widget made this call; False in a cell (nbconvert's too) and where there is no kernel."""
    from IPython import get_ipython

    parent = getattr(get_ipython(), "get_parent", dict)()
    return parent.get("header", {}).get("msg_type") == "comm_msg"
