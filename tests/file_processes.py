"""A pytest plugin: each file of tests runs in a process of its own, forked after the imports.

TensorFlow keeps compiled programs until its process ends, some 20 MB for each model that was
fitted: without this, 57% of the tests took 12 GB. A test that crashes or hangs fails alone. A
process that has grown large is followed by a new one, which sets up the file's fixtures again.
"""

import gc
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

SECONDS_PER_TEST = 900
BYTES_PER_PROCESS = 3e9


class FileProcesses:
    """Runs items in a child, one for each file; the parent only passes on their reports."""

    def __init__(self) -> None:
        self._file, self._child, self._pipe = None, 0, None
        self._in_child: list | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from tensorflow.python.eager import context

        if context.context()._initialized:  # its threads would be missing in the children
            raise pytest.UsageError(
                "a test module computed with TensorFlow while it was imported: keep arrays of "
                "modules and of parametrize in NumPy, and make tensors in tests or fixtures"
            )
        session.config._tmp_path_factory.getbasetemp()  # one for all children
        gc.collect()
        gc.freeze()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        same_file = nextitem is not None and nextitem.path == item.path
        if self._in_child is not None:
            self._in_child += runtestprotocol(
                item, nextitem=nextitem if same_file else None, log=False
            )
            return True
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if self._file != item.path:
            self._close()
            self._fork(item.session)
            self._file = item.path
        for report in self._run(item, nextitem):
            hook.pytest_runtest_logreport(report=report)
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if not same_file or self._child_bytes() > BYTES_PER_PROCESS:
            self._close()
        return True

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        self._close()

    def _run(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        index = item.session.items.index
        try:
            self._pipe.send((index(item), None if nextitem is None else index(nextitem)))
            if not self._pipe.poll(SECONDS_PER_TEST):
                os.kill(self._child, signal.SIGKILL)
                raise EOFError
            reports = self._pipe.recv()
        except (EOFError, OSError):
            code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
            self._pipe, self._file = None, None
            what = f"the process of {item.path.name} ended with exit code {code}"
            return [
                pytest.TestReport(
                    item.nodeid, item.location, {}, "failed", what, "call", start=0, stop=0
                )
            ]
        restore = item.config.hook.pytest_report_from_serializable
        return [restore(config=item.config, data=report) for report in reports]

    def _child_bytes(self) -> int:
        if self._pipe is None:
            return 0
        pages = int(Path(f"/proc/{self._child}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def _fork(self, session: pytest.Session) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._child = os.fork()
        if not self._child:
            code = 1
            try:
                self._pipe.close()
                # AutoGraph's files, which only a process that ends by itself would remove.
                with tempfile.TemporaryDirectory() as tempfile.tempdir:
                    self._serve(session, theirs)
                code = 0
            finally:
                os._exit(code)
        theirs.close()

    def _serve(self, session: pytest.Session, pipe: Connection) -> None:
        """The child's whole life: runs items by their index until the pipe closes."""
        config = session.config
        while True:
            try:
                place, next_place = pipe.recv()
            except EOFError:
                session._setupstate.teardown_exact(None)
                return
            self._in_child = []
            item = session.items[place]
            nextitem = None if next_place is None else session.items[next_place]
            # By the hook, for what other plugins wrap around each item.
            item.ihook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            to_data = config.hook.pytest_report_to_serializable
            pipe.send([to_data(config=config, report=report) for report in self._in_child])

    def _close(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
            os.waitpid(self._child, 0)
        self._pipe, self._file = None, None


def pytest_configure(config: pytest.Config) -> None:
    """Registers the plugin where processes can fork, unless a debugger wants the terminal."""
    if sys.platform == "linux" and not config.getoption("usepdb"):
        config.pluginmanager.register(FileProcesses())
