"""A recipe small enough to be trained in tests: a line through points, and a two-sided game.

Run as a script, it trains alone or in a group of Slurm, as its environment says; see `main` and `in_group`.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from humanpose_cli.lab.cache.loader import BatchLoader
from humanpose_cli.lab.train.recipe import Phase, Recipe, TrainOptions
from humanpose_cli.lab.train.trainer import CHECKPOINT, train

TRUE = np.array([2.0, -1.0, 0.5], np.float32)


class Points:
    def __call__(self, row, random):
        x = np.random.default_rng(row).normal(size=3).astype(np.float32)
        return {"x": x + 0.01 * random.normal(size=3).astype(np.float32), "y": x @ TRUE}


class LineRecipe(Recipe):
    """Fits three numbers; dropout makes every step depend on torch's random numbers."""

    name, criterion = "line", "error"

    def __init__(self, count=64, dropout=0.2, rate=0.05):
        torch.manual_seed(0)
        self.count, self.rate = count, rate
        self.model = nn.Sequential(nn.Dropout(dropout), nn.Linear(3, 1), nn.BatchNorm1d(1, affine=False))
        self.model[2].eval()
        self.validated = []
        self.worse_after = None

    def phases(self):
        return [Phase("fit", list(self.model.parameters()), self.rate)]

    def batches(self, options):
        return BatchLoader(range(self.count), Points(), options)

    def losses(self, phase, batch):
        found = self.model[1](self.model[0](batch["x"]))[:, 0]
        loss = (found - batch["y"]).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    def validate(self, batch_size):
        assert not self.model.training
        error = float((self.model[1].weight[0] - torch.from_numpy(TRUE)).norm())
        self.validated.append(error)
        if self.worse_after is not None and len(self.validated) > self.worse_after:
            error += 100
        return {"error": error, "other": 1.0}

    def weights(self):
        return {"line": self.model[1].weight}, {"inputs": 3}

    def image(self):
        return np.full((8, 8, 3), 127, np.uint8)

    def describe(self):
        return {"data": "points", "count": self.count}


TOGETHER = TrainOptions(epochs=2, batch_size=8, workers=0, log_every=2, precision="full", seed=3, save_every=0)
"""What several processes train with that run this file."""

OPTIONS = TrainOptions(epochs=3, batch_size=8, workers=0, log_every=3, precision="full", seed=1)


def lines(folder, *kinds):
    """Of a run; of these kinds, by default of what it learned."""
    found = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if line["kind"] in (kinds or ("train", "validation"))]


def run(folder, recipe=None, options=OPTIONS, until=None, **more):
    """Train, interrupted after some steps where `until` says so."""
    done = []
    stop = (lambda: len(done) >= until) if until is not None else (lambda: False)
    return train(
        recipe or LineRecipe(),
        options,
        folder,
        torch.device("cpu"),
        stop=stop,
        progress=lambda *a: done.append(a),
        **more,
    )


class FatalRecipe(LineRecipe):
    """Kills its process, if that is the second one, at a step."""

    def __init__(self, step):
        super().__init__(dropout=0.0)
        self.left = step

    def losses(self, phase, batch):
        self.left -= 1
        if self.left == 0 and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().losses(phase, batch)


class GameRecipe(LineRecipe):
    """Two phases, of which the second sits out while it is ahead, as discriminators do."""

    name = "game"

    def __init__(self, sit_out=False):
        super().__init__(dropout=0.0)
        self.model.append(nn.Linear(3, 1))
        self.sit_out, self.played = sit_out, []

    def phases(self):
        return [
            Phase("first", list(self.model[1].parameters()), 0.05),
            Phase("second", list(self.model[3].parameters()), 0.01, (0.5, 0.9), 1e-4),
        ]

    def losses(self, phase, batch):
        self.played.append(phase)
        if phase == "second" and self.sit_out:
            return None
        return {"loss": (self.model[1 if phase == "first" else 3](batch["x"])[:, 0] - batch["y"]).square().mean()}

    def state(self):
        return {"played": len(self.played)}

    def load_state(self, state):
        self.played = ["before"] * state["played"]


class WaitingRecipe(LineRecipe):
    """Waits at a step for somebody to stop its job, unless it was started again."""

    def __init__(self, step):
        super().__init__(dropout=0.0)
        self.left = step if "SLURM_RESTART_COUNT" not in os.environ else 0

    def losses(self, phase, batch):
        self.left -= 1
        if self.left == 0:
            time.sleep(900)  # it is killed meanwhile
        return super().losses(phase, batch)


def main(out, *step):
    """Train into a folder; with a step, wait there for the end of the job."""
    torch.set_num_threads(1)
    recipe = WaitingRecipe(int(*step)) if step else LineRecipe(dropout=0.0)
    train(recipe, TOGETHER, Path(out), torch.device("cpu"))


def in_group(recipe, out, log):
    """Two processes with what torchrun tells each of its own: their exit codes; what they say goes to a file."""
    sys.stdout.flush()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    started = []
    for rank in "01":
        started.append(os.fork())  # what is imported is there already
        if not started[-1]:
            os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            train(recipe, TOGETHER, out, torch.device("cpu"))
            os._exit(0)
    return [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in started]


if __name__ == "__main__":
    if sys.argv[1] == "group":  # first with a process that is killed at a step, then again
        import torch._dynamo  # or each of the four would import it at its first step

        torch.set_num_threads(1)
        folder, log = map(Path, sys.argv[2:4])
        killed = in_group(FatalRecipe(int(sys.argv[4])), folder, log)
        steps = torch.load(folder / CHECKPOINT, weights_only=True)["progress"]["step"]
        sys.stdout.write(json.dumps([killed, steps, in_group(LineRecipe(dropout=0.0), folder, log)]))
    else:
        main(*sys.argv[1:])
