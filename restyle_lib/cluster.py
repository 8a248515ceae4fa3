"""A batch over a cluster, through dask.distributed: each run is a task, done elsewhere where its worker dies.

All machines have this workbook, and the outputs folder under one path."""
import contextlib
import io
import os
import signal
import socket
import time
import uuid

from . import batch, runs
from .errors import UserError


class Cluster:
    """A scheduler's workers, for `batch.run`: `start` begins a job, `slots` at a time; a context."""

    def __init__(self, address, seconds=10):
        try:
            from distributed import Client
        except ImportError:
            raise UserError("--scheduler needs a package: pip install -e '.[cluster]'") from None
        try:
            self.client = Client(address, timeout=seconds, set_as_default=False)
        except (OSError, ValueError) as error:
            raise UserError(f"no scheduler answers at {address} ({str(error).splitlines()[0]:.80}); begin "
                            "one: dask scheduler") from None
        self.slots = sum(self.client.nthreads().values())
        self.stop = runs.outputs_dir().resolve() / f".{uuid.uuid4().hex}.stop"
        if not self.slots:
            self.client.close()
            raise UserError(f"the scheduler at {address} has no workers; begin some: dask worker {address}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.stop.unlink(missing_ok=True)

    def start(self, job, *_):
        """Hands a Job over -> (what can be asked as a process is, its log)."""
        job.status, task = "running", _Task(job, self.stop)
        task.future = self.client.submit(work, job, str(self.stop), pure=False)
        return task, task.log


class _Task:
    def __init__(self, job, stop):
        self.job, self.stop, self.returncode, self.log = job, stop, None, io.StringIO()

    def poll(self):
        if self.returncode is None and self.future.done():
            try:
                self.returncode, said, self.job.stopped = self.future.result()
            except Exception as error:                    # its workers died again and again, or the scheduler
                self.returncode, said = 1, f"the cluster gave it up ({type(error).__name__}: {error!s:.200})"
            self.log.write(said)
        return self.returncode

    def send_signal(self, _number):
        self.stop.touch()

    terminate = kill = lambda self: self.send_signal(signal.SIGINT)

    def wait(self):
        while self.poll() is None:
            time.sleep(0.1)


def work(job, stop):
    """What a worker does with a Job -> (exit status, the end of what it said, which limit it went over).

    A run whose worker died may live on, as may those of a batch that died: it is waited for, and its work
    counts."""
    import fcntl

    outputs = os.path.dirname(stop)
    folder = os.path.join(outputs, job.run)
    if not os.path.isdir(folder):
        return 1, f"{folder} is not on {socket.gethostname()}; all machines need it under this path", ""
    os.environ["RESTYLE_OUTPUTS"] = outputs
    lock = os.open(os.path.join(folder, f".{job.notebook}.lock"), os.O_RDWR | os.O_CREAT)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, lock)
        while not os.path.exists(stop):
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.2)
        else:
            return 1, "interrupted before it began", ""
        if job.done(runs.outputs_dir() / job.run):
            return 0, "", ""
        process, log = batch._start(job, 1, lock)
        stack.callback(log.close)
        told = False
        while process.poll() is None:
            batch._limit(job, process)
            if not told and (told := os.path.exists(stop)):
                process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        log.seek(0)
        return process.returncode, log.read()[-4000:], job.stopped
