"""The chapters as committed: executed, described, stamped from the records; exercises that tell right from wrong."""

import ast
import base64
import importlib.util
import io
import re
from pathlib import Path

import matplotlib.image
import nbformat
import numpy as np
import pytest
import torch

from clrlib import checks
from clrlib.evidence import experiments
from clrlib.lab import cifar as images_of
from clrlib.lab import models, profiles
from clrlib.lab.fresh import range_test
from clrlib.lab.training import Recipe, fit
from clrlib.page import build as notebooks
from clrlib.range_test import range_test_in_place
from clrlib.schedules import one_cycle, one_cycle_momentum, triangular2

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
EXERCISES = {
    "00_start_here": 3,
    "01_gradient_descent": 4,
    "02_training_loop": 5,
    "03_range_test": 4,
    "04_cyclical_learning_rates": 4,
    "05_one_cycle": 5,
    "06_cyclical_momentum": 4,
    "07_weight_decay": 4,
    "08_batch_size": 4,
    "09_audit": 5,
    "10_recipe": 4,
}


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def printed(path):
    return "".join(output.text for output in outputs(path) if output.output_type == "stream")


def solutions(number):
    path = ROOT / "notebooks" / "solutions" / f"solutions_{number}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return request.param


def test_there_are_chapters():
    assert {path.stem for path in CHAPTERS} >= set(EXERCISES)


def test_a_chapter_is_committed_executed_and_normalised(chapter):
    notebook = read(chapter)
    again = notebooks.normalised(nbformat.from_dict(notebook))
    assert nbformat.writes(again) + "\n" == chapter.read_text(encoding="utf-8")
    assert any(output.output_type == "display_data" for output in outputs(chapter))
    assert "error" not in {output.output_type for output in outputs(chapter)}
    counts = [cell.execution_count for cell in code_cells(chapter)]
    assert counts == list(range(1, len(counts) + 1)), "every code cell, in order"


def test_every_number_in_the_prose_is_what_the_records_say(chapter):
    for cell in read(chapter).cells:
        if cell.cell_type == "markdown":
            assert notebooks.stamped(cell.source) == cell.source


@pytest.mark.parametrize("page", ["README.md", "data/README.md"])
def test_every_number_in_the_pages_is_what_the_records_say(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert notebooks.stamped(text) == text


def test_the_readme_is_short_and_has_numbers():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 500
    assert len(notebooks.STAMP.findall(text)) >= 5 and "-->?<!--" not in text


def test_every_picture_is_described_small_and_not_blank(chapter):
    pictures = [output for output in outputs(chapter) if "image/png" in output.get("data", {})]
    assert pictures
    for output in pictures:
        raw = base64.b64decode(output.data["image/png"])
        assert len(output.metadata["image/png"]["alt"]) > 15
        assert len(raw) < 60_000
        assert len(np.unique(matplotlib.image.imread(io.BytesIO(raw)).reshape(-1, 4), axis=0)) > 20
    assert chapter.stat().st_size < 1_000_000


def test_no_cell_is_long_and_prose_outweighs_code(chapter):
    cells = read(chapter).cells
    for cell in cells:
        assert len(cell.source.splitlines()) <= 20 or cell.cell_type == "markdown"
    prose = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    trees = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    statements = sum(isinstance(node, ast.stmt) for tree in trees for node in ast.walk(tree))
    assert 12 <= prose / statements <= 25


def test_stored_text_has_no_timings_paths_or_widget_state(chapter):
    text = chapter.read_text(encoding="utf-8")
    assert "widget-view" not in text and "application/vnd.jupyter.widget-state" not in text
    assert not re.search(r"(/(home|root|Users|tmp|work)/|\d step/s|\ds elapsed)", text)


def test_a_chapter_was_built_with_the_real_images(chapter):
    assert "digits" not in printed(chapter)


def test_the_stubs_are_told_not_yet(chapter):
    assert printed(chapter).count("Not yet:") == EXERCISES[chapter.stem]
    assert "Right:" not in printed(chapter)


def test_solutions_00():
    answers, accuracies = solutions("00"), [84.1, 83.7, 84.4]
    assert checks.total_steps(answers.steps)
    assert checks.standard_error(answers.error_of_the_mean(accuracies), accuracies)


def test_solutions_01():
    answers = solutions("01")
    assert checks.stable_rate(answers.my_limit)
    assert checks.steps_needed(answers.my_steps)
    assert checks.other_momentum(answers.my_momentum)
    assert checks.through_the_ravine(answers.my_pair)


def test_solutions_02():
    answers = solutions("02")
    assert checks.training_step(answers.my_step)
    assert checks.error_of_accuracy(answers.my_error)
    assert checks.number_of_seeds(answers.my_seeds)
    assert checks.undo_running(answers.my_undo)


def test_solutions_02_with_runs_of_ones_own():
    data, answers = images_of.load("choose").limited(400), solutions("02")

    def run_of(seed, lr=one_cycle(0.02, 0.2)):
        recipe = Recipe(batch_size=32, seed=seed)
        return fit(models.build("tiny", data.train.classes, seed), data, {"lr": lr}, 1, recipe, progress=False).accuracy

    assert checks.own_comparison(answers.my_scores(run_of, one_cycle), [run_of(seed) for seed in range(5)], answers.my_verdict)


def test_solutions_03(capsys):
    answers = solutions("03")
    assert checks.sweep(answers.my_rate)
    assert checks.after_the_step(answers.my_pairs)
    assert checks.smoothing_lag(answers.lag_factor)
    data = images_of.load("choose", stand_in=True).limited(1000)
    assert checks.own_range_test(answers.my_test(range_test, data, Recipe(batch_size=32, precision="fp32")), 0.02)


def test_solutions_04():
    answers = solutions("04")
    assert checks.stepsize_and_cycles((answers.stepsize, answers.whole_cycles))
    assert checks.cyclic_by_hand(answers.my_triangular2)
    assert checks.same_sum(answers.my_rate, 0.04, 0.4)


def test_solutions_05():
    answers = solutions("05")
    assert checks.one_cycle_by_hand(answers.my_one_cycle)
    assert checks.torch_ends((answers.first_rate, answers.last_rate))
    assert checks.effective_peak(answers.factor)


def test_solutions_09():
    answers = solutions("09")
    assert checks.counts(answers.my_counts)
    assert checks.forever(answers.printed_forever)
    assert checks.verdicts(answers.my_verdict)
    assert checks.seeds_needed(answers.my_seeds)


def test_solutions_07():
    answers = solutions("07")
    assert checks.half_life_steps(answers.half_life)
    assert checks.decoupled_step(answers.my_sgdw)
    assert checks.same_shrinkage(answers.my_decay)


def test_solutions_06():
    answers = solutions("06")
    assert checks.equal_step(answers.rate)
    assert checks.momentum_by_hand(answers.my_momentum)
    assert checks.sutskever_step(answers.my_step)
    data, recipe = images_of.load("report", stand_in=True).limited(600), Recipe(batch_size=128, precision="fp32")
    article = {"lr": one_cycle(0.08, 0.8), "momentum": one_cycle_momentum(0.95, 0.80)}
    cyclical, own = (
        fit(models.build("tiny", data.train.classes), data, policy, epochs=2, recipe=recipe, progress=False)
        for policy in (article, answers.my_policy(article))
    )
    assert checks.own_matched(own, cyclical, 0.85)


def test_solutions_10():
    answers = solutions("10")
    assert checks.scheduler_steps(answers.my_steps)
    assert checks.difference(answers.my_difference)
    assert checks.own_verdict(answers.my_report, answers.my_verdict)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    points = torch.randn(256, 8)
    batches = list(zip(points.split(32), (points[:, 0] * points[:, 1] > 0).long().split(32)))
    optimizer = torch.optim.AdamW(model.parameters())
    found = answers.my_found(range_test_in_place, model, optimizer, torch.nn.functional.cross_entropy, batches)
    assert checks.own_range_test(found, 0.005)


def test_solutions_08():
    answers = solutions("08")
    assert checks.steps_of_a_run(answers.my_steps)
    assert checks.scaling_rules(answers.my_rate)
    assert checks.accumulated(answers.my_accumulated)


def test_solutions_that_need_a_run_of_ones_own():
    data, recipe = images_of.load().limited(3000), Recipe(batch_size=128)
    baseline = fit(models.build("tiny"), data, {"lr": 0.8}, epochs=2, recipe=recipe, progress=False)
    flat = solutions("00").my_flat(fit, models, data, 2, recipe)
    printed = solutions("09").my_run_and_recovered(fit, models, data, recipe)
    shaped = fit(models.build("tiny"), data, solutions("05").my_schedules(one_cycle), epochs=2, recipe=recipe, progress=False)
    assert checks.own_log(printed[1], printed[0])
    cycled = fit(models.build("tiny"), data, {"lr": solutions("04").my_cycles(triangular2)}, epochs=2, recipe=recipe, progress=False)
    assert checks.own_cycles(cycled, baseline)
    answers, half = solutions("07"), data.limited(1000)
    decays = answers.my_runs(
        lambda wd: fit(models.build("tiny"), half, {"lr": one_cycle(0.01, 0.1), "momentum": 0.8, "weight_decay": wd}, 1, recipe, False)
    )
    answers_08 = solutions("08")
    race = answers_08.my_race(lambda size: fit(models.build("tiny"), half, {"lr": one_cycle(0.01, 0.1)}, 1, Recipe(size), False))
    target = min(run.accuracy for run in race.values())
    assert checks.own_race(race, target, answers_08.my_winner(race, target))
    assert checks.own_schedule(flat, baseline)
    assert checks.own_decays(decays, answers.my_choice(decays))
    assert checks.own_schedule(shaped, baseline)


def test_a_hand_that_ends_low_beats_none():
    data, recipe = images_of.load().limited(3000), Recipe(batch_size=128)
    hands_off, driven = (
        fit(models.build("tiny"), data, {"lr": rate}, epochs=3, recipe=recipe, progress=False) for rate in (0.3, solutions("05").my_hand)
    )
    assert checks.own_schedule(driven, hands_off)


def test_the_smoke_profile_still_learns():
    profile = profiles.PROFILES["smoke"]
    data = images_of.load().limited(profile.images)
    history = fit(
        models.build(profile.model), data, {"lr": one_cycle(0.02, 0.2)}, profile.epochs, Recipe(profile.batch_size), progress=False
    )
    assert history.accuracy > 25  # chance is 10


@pytest.mark.parametrize("run", experiments.DECLARED, ids=lambda run: f"{run.experiment}/{run.name}")
def test_no_seed_is_left_out_before_one_that_is_recorded(run):
    there = [record.seed for record in run.recorded()]
    assert there == list(run.every_seed)[: len(there)]
