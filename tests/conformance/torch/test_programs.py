"""Modules of every kind as programs: the same bytes without a pass; after the default pipeline a program that torch.export
loads and that computes what it computed, with the verdicts that have to be."""
import pytest
import torch

import harness
import programs
import zoo
import zoo_flow  # noqa: F401  (its cases join those of zoo)

EVERY = [pytest.param(case, form, id=f"{case.name}-{form}") for case in zoo.CASES for form in case.forms]


def special(model):
    """What some cases say of their norms instead of random numbers."""
    with torch.no_grad():
        for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            if hasattr(model, "scales"):
                norm.weight.copy_(model.scales)
            if hasattr(model, "variance"):
                norm.running_var[1] = model.variance


def made(case, form, folder):
    """The file of a case in a form, and the arguments."""
    model, args = case.build()
    programs.weighted(model, case.name)
    special(model)
    how = case.forms[form]
    path = folder / "model.pt2"
    torch.export.save(programs.export(model, args, how), path)
    return path, programs.cast(args, how.dtype)


@pytest.mark.parametrize("case, form", EVERY)
def test_a_module(case, form, tmp_path):
    path, args = made(case, form, tmp_path)
    report, before, after = programs.judged(path, tmp_path, args)
    folded, kept = case.expected(form)
    codes = [code for code, n in kept.items() for _ in range(n)]
    assert report.folded == folded and harness.agree(report.reasons, codes), report.norms
    gone = set(before.state_dict) - set(after.state_dict)
    assert len([n for n in gone if n.endswith("running_mean")]) <= folded
    programs.usable(tmp_path / "out.pt2", args)
    # Every pass at once leaves a program that computes the same, too.
    simple = tmp_path / "simple.pt2"
    if case.refused:
        done = harness.run("opt", path, "-o", simple, "--passes=simplify")
        assert done.returncode not in (0, 101) and case.refused in done.stderr and not simple.exists(), done
    else:
        harness.opt(path, simple, "--passes=simplify")
        programs.same_outputs(path, simple, args)
