"""The plain twin in a process of its own, where memory is the C library's usual (see memory.py).

In one process it would find the memory that this library keeps, which the published code does not have.
"""
import multiprocessing
import os

import torch

SIZES = ("PUBLISHED", "QUARTER", "EMBEDDED", "PUBLISHED_ENCODER", "EMBEDDED_ENCODER")


class Apart:
    """A case's first candidate, elsewhere: `warm_up()` gives its facts, `turn()` the seconds of one call.

    A turn is two calls, of which the second counts: after a pause the system has to find memory again."""

    def __init__(self, case, device, batch):
        from . import bench_cases
        sizes = {name: getattr(bench_cases, name) for name in SIZES}
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, daemon=True, args=(
            theirs, case, str(device), batch, sizes, torch.get_num_threads()))
        self.process.start()
        theirs.close()

    def warm_up(self):
        facts = self._ask("warm up")
        return facts | {"output": torch.from_numpy(facts["output"])}

    def turn(self):
        return self._ask("turn")

    def close(self):
        self.process.terminate()
        self.process.join()

    def _ask(self, what):
        self.pipe.send(what)
        try:
            answer = self.pipe.recv()
        except EOFError:
            raise RuntimeError("the plain twin's process ended: too little memory?") from None
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(pipe, case, device, batch, sizes, threads):
    os.environ["RESTYLE_KEEP_MEMORY"] = "0"
    from . import bench, bench_cases
    vars(bench_cases).update(sizes)
    torch.set_num_threads(threads)
    device = torch.device(device)
    with torch.set_grad_enabled(bench_cases.CASES[case][2]):
        candidate = bench.candidates(case, device, batch)[0]

        def warm_up():
            facts = bench.warm_up(candidate, device)
            return facts | {"output": facts["output"].detach().numpy()}    # an array needs no shared memory
        work = {"warm up": warm_up,
                "turn": lambda: [bench.timed(candidate.call, device) for _ in range(2)][1]}
        while True:
            try:
                pipe.send(work[pipe.recv()]())
            except EOFError:
                return
            except Exception as error:     # told to who asked
                pipe.send(error)
