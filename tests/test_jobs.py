import threading

import pytest

from clrlib.page.jobs import Job, from_a_page


def waiting(job, entered):
    """Work that goes on until the job is asked to stop."""

    def work():
        entered.set()
        while job.state == "running":
            threading.Event().wait(0.005)

    return work


@pytest.fixture
def job():
    seen = []
    job = Job(lambda: seen.append(job.state))
    job.seen = seen
    yield job
    job.stop()
    assert job.join(20)


def test_idle_running_stopping_idle(job):
    entered = threading.Event()
    assert job.state == "idle" and job.start(waiting(job, entered), wait=False)
    assert entered.wait(20) and job.state == "running" and job.thread.daemon
    job.stop()
    assert job.join(20) and job.seen == ["running", "stopping", "idle"] and not job.thread.is_alive()


def test_while_one_is_under_way_no_other_starts(job):
    entered, ran, other = threading.Event(), [], Job()
    job.start(waiting(job, entered), wait=False)
    for refused in (job, other):
        assert not refused.start(lambda: ran.append(1), wait=True)
    assert other.state == "idle"
    job.stop()
    assert job.join(20) and other.start(lambda: ran.append(2), wait=True) and ran == [2]


def test_of_many_presses_at_once_one_wins(job):
    entered, started, gate = threading.Event(), [], threading.Barrier(8)

    def press():
        gate.wait(20)
        started.append(job.start(waiting(job, entered), wait=False))

    threads = [threading.Thread(target=press) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(started) == [False] * 7 + [True]


def test_with_wait_it_runs_here_and_an_error_leaves_it_idle(job):
    where = []
    assert job.start(lambda: where.append(threading.current_thread()), wait=True)
    assert where == [threading.current_thread()]
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            job.start(lambda error=error: (_ for _ in ()).throw(error()), wait=True)
        assert job.state == "idle" and Job.under_way is None


def test_where_no_thread_starts_it_says_so_and_a_later_job_runs(job, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        job.start(lambda: None, wait=False)
    monkeypatch.undo()
    assert job.state == "idle" and job.join(0)
    entered = threading.Event()
    assert Job().start(entered.set, wait=True) and entered.is_set()
    assert job.start(waiting(job, threading.Event()), wait=False)


def test_stopping_what_does_not_run_changes_nothing(job):
    job.stop()
    assert job.state == "idle" and job.seen == [] and job.join(0)


def test_without_a_kernel_no_call_comes_from_a_page():
    assert not from_a_page()
