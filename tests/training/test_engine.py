"""Which engine trains: chosen, kept with the run, and refused in a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import verydeep
from verydeep.cli import main
from verydeep.errors import UsageError
from verydeep.processor import native_module
from verydeep.run_folder import CONFIG, JOURNAL
from verydeep.training import engine as training_engine
from verydeep.training.engine import choose_training_engine, uses_bfloat16
from verydeep.training.journal import read_journal
from verydeep.training.recipe import find_recipe

pytestmark = pytest.mark.skipif(native_module() is None, reason="the package was installed without a compiler")
SMALL = replace(find_recipe("digits"), width=0.06, epochs=1, batch_size=64, warmup_epochs=0, dropout=0.0)
CPU = torch.device("cpu")


def engine_of(run: Path) -> str:
    return json.loads((run / CONFIG).read_text())["provenance"]["engine"]


def losses(run: Path) -> np.ndarray:
    return np.array([record["loss"] for record in read_journal(run / JOURNAL) if "rate" in record])


def test_both_engines_take_the_same_steps(tmp_path, capsys):
    for engine in ("native", "torch"):
        recipe = replace(SMALL, precision="float32")
        verydeep.train("digits", tmp_path / engine, recipe=recipe, engine=engine)
        assert engine_of(tmp_path / engine) == engine
        assert f"in float32 ({engine} engine)" in capsys.readouterr().err
    native, by_torch = losses(tmp_path / "native"), losses(tmp_path / "torch")
    np.testing.assert_allclose(native[:4], by_torch[:4], rtol=5e-3)
    assert native[-5:].mean() == pytest.approx(by_torch[-5:].mean(), rel=0.2)


def test_the_native_engine_is_the_default_on_a_cpu_where_it_is_faster(tmp_path, monkeypatch):
    assert choose_training_engine("auto", "auto", CPU, work=2e9) == "native"
    verydeep.train("digits", tmp_path / "small", recipe=SMALL)
    assert engine_of(tmp_path / "small") == "torch"
    monkeypatch.setattr(training_engine, "LEAST_WORK", 1.0)
    verydeep.train("digits", tmp_path / "run", recipe=SMALL)
    assert engine_of(tmp_path / "run") == "native"


def test_a_resumed_run_keeps_its_engine_unless_told_otherwise(tmp_path, capsys):
    run = tmp_path / "run"
    verydeep.train("digits", run, recipe=SMALL, engine="torch")
    verydeep.train("digits", run, resume=True, epochs=2)
    assert engine_of(run) == "torch"
    main(["train", "digits", str(run), "--resume", "--epochs", "3", "--engine", "native"])
    assert engine_of(run) == "native"
    assert "(native engine)" in capsys.readouterr().err
    steps = [record["step"] for record in read_journal(run / JOURNAL) if "rate" in record]
    assert steps == list(range(3 * (1438 // 64)))


@pytest.mark.heavy
def test_a_run_that_does_not_tell_its_engine_was_torchs(tmp_path, monkeypatch):
    monkeypatch.setattr(training_engine, "LEAST_WORK", 1.0)
    run = tmp_path / "run"
    verydeep.train("digits", run, recipe=SMALL, engine="torch")
    config = json.loads((run / CONFIG).read_text())
    del config["provenance"]["engine"]
    (run / CONFIG).write_text(json.dumps(config))
    verydeep.train("digits", run, resume=True, epochs=2)
    assert engine_of(run) == "torch"


@pytest.mark.heavy
def test_momentum_is_laid_out_as_the_weights_are(tmp_path, monkeypatch):
    """Momentum is saved contiguous, torch's weights are channels last; and a step would copy it each time."""
    from verydeep.training.loop import Trainer

    run = tmp_path / "run"
    verydeep.train("digits", run, recipe=SMALL, engine="torch")
    seen = []
    step = Trainer._step

    def look(self, batch, number, interrupted=False):
        result = step(self, batch, number, interrupted)
        weight = self.network.conv3_1.weight
        seen.append(self.optimizer.state[weight]["momentum_buffer"].stride() == weight.stride())
        assert weight.is_contiguous(memory_format=torch.channels_last)
        return result

    monkeypatch.setattr(Trainer, "_step", look)
    verydeep.train("digits", run, resume=True, epochs=2)
    assert seen and all(seen)


WRITING = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import torch
from verydeep.training.loop import Trainer, TrainingState, Writer, copied

def threads():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(2)
weight = torch.zeros(256, 256, 3, 3).to(memory_format=torch.channels_last)
weight += 1  # torch's own workers start
before, during = threads(), []
state = TrainingState(0, {}, copied({"weight": weight}), {}, {}, {})

def write():
    Trainer._write(SimpleNamespace(run=Path(sys.argv[1])), state, best=False, epoch_ends=True)
    during.append(threads())

with Writer() as writer:
    writer.write(write)
print(during[0] - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts threads as Linux tells them")
def test_writing_a_state_starts_no_workers_of_torch(tmp_path):
    """With more of its threads than cores, OpenMP lets all of them sleep after each operation."""
    done = subprocess.run([sys.executable, "-c", WRITING, tmp_path], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1  # the writer


@pytest.mark.parametrize(
    "precision, device, why",
    [("bfloat16", "cpu", "no products in bfloat16 on this"), ("float32", "cuda", "on the CPU, not on cuda")],
)
def test_the_kernels_are_refused_where_they_cannot_train(capsys, monkeypatch, precision, device, why):
    monkeypatch.setattr(training_engine, "has_bfloat16", lambda native: False)
    with pytest.raises(UsageError, match=why):
        choose_training_engine("native", precision, torch.device(device))
    assert choose_training_engine("auto", precision, torch.device(device)) == "torch"
    assert choose_training_engine("auto", precision, torch.device(device), before="native") == "torch"
    assert "was begun with `engine=native`; it goes on with torch" in capsys.readouterr().err
    assert choose_training_engine("torch", precision, torch.device(device), before="native") == "torch"


def test_bfloat16_where_the_kernels_have_it(monkeypatch):
    monkeypatch.setattr(training_engine, "has_bfloat16", lambda native: True)
    chosen = {choose_training_engine(asked, "bfloat16", CPU) for asked in ("auto", "native")}
    assert chosen == {"native"}
    assert uses_bfloat16("bfloat16", CPU, "native")
    assert uses_bfloat16("auto", CPU, "native") and not uses_bfloat16("float32", CPU, "native")


def test_without_the_compiled_part(monkeypatch):
    monkeypatch.setattr(training_engine, "native_module", lambda: None)
    assert choose_training_engine("auto", "auto", CPU) == "torch"
    with pytest.raises(UsageError, match="is not installed; leave it out, or give `engine=torch`"):
        choose_training_engine("native", "auto", CPU)


def test_a_wrong_engine_is_told(tmp_path, capsys):
    with pytest.raises(SystemExit) as code:
        main(["train", "digits", str(tmp_path / "run"), "--engine", "fast"])
    assert code.value.code == 2
    assert "native" in capsys.readouterr().err


def test_precision_follows_the_engine(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(training_engine, "has_bfloat16", lambda native: False)
    assert uses_bfloat16("auto", CPU, "torch") and not uses_bfloat16("auto", CPU, "native")
    assert uses_bfloat16("bfloat16", CPU, "torch") and not uses_bfloat16("float32", CPU, "torch")
