import math

import pytest
import torch
from scipy.integrate import solve_ivp

from pipeline.errors import UserError
from pipeline.generate import ode
from pipeline.generate.ode import EVALUATIONS, Counted, integrate


def bend(x, t):
    """A field without symmetry: its paths are no straight lines, and time matters."""
    return torch.sin(3 * x) + t[:, None] ** 2 * torch.cos(x.flip(1))


@pytest.fixture
def begin():
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def exact(x, start, end):
    def slope(t, state):
        flat = torch.from_numpy(state).view(x.shape)
        return bend(flat, torch.full((len(x),), t, dtype=torch.float64)).flatten().numpy()

    found = solve_ivp(slope, (start, end), x.flatten().numpy(), method="DOP853", rtol=1e-11, atol=1e-12)
    return torch.from_numpy(found.y[:, -1]).view(x.shape)


def line(steps, start=0.0, end=1.0):
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_halving_the_steps_divides_the_error_by_two_to_the_order(begin, solver, order):
    truth = exact(begin, 0, 1)
    errors = [(integrate(bend, begin, line(steps), solver) - truth).abs().max() for steps in (32, 64)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_the_uncorrected_last_step_is_euler_and_spares_the_end(begin):
    def singular(x, t):
        assert (t < 1).all()
        return bend(x, t)

    two = integrate(singular, begin, line(2), "heun", corrected=False)
    half = integrate(bend, begin, line(1, 0, 0.5), "heun")
    torch.testing.assert_close(two, integrate(bend, half, line(1, 0.5, 1), "euler"))


@pytest.mark.parametrize("solver", EVALUATIONS)
def test_evaluations_are_counted(begin, solver):
    field = Counted(bend)
    integrate(field, begin, line(7), solver)
    assert field.calls == 7 * EVALUATIONS[solver]


@pytest.mark.parametrize(("start", "end"), [(0, 1), (1, 0), (-0.5, 2)])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_adaptive_agrees_with_scipy(begin, start, end, tolerance):
    found = integrate(bend, begin, line(1, start, end), "adaptive", tolerance=tolerance)
    error = (found - exact(begin, start, end)).abs().max()
    assert error < 20 * tolerance


def test_adaptive_takes_the_steps_of_its_order(begin):
    calls = []
    for tolerance in (1e-4, 1e-9):
        field = Counted(bend)
        integrate(field, begin, line(1), "adaptive", tolerance=tolerance)
        calls.append(field.calls)
    # five digits more cost ten times the steps at order 5; a wrong error estimate or order would cost 30 or 300
    assert 3 < calls[1] / calls[0] < 15


def test_the_weights_satisfy_the_conditions_of_order_five():
    # x' = t**k is integrated exactly for k < 5 in a single step
    for k in range(5):
        found = integrate(lambda x, t, k=k: t[:, None] ** k, torch.zeros(1, 1).double(), line(1), "adaptive")
        assert found.item() == pytest.approx(1 / (k + 1), abs=1e-12)


@pytest.mark.parametrize("solver", ["euler", "midpoint", "heun", "adaptive"])
def test_a_sample_does_not_depend_on_its_batch(begin, solver):
    together = integrate(bend, begin, line(4), solver)
    for row, one in zip(begin, together, strict=True):
        torch.testing.assert_close(integrate(bend, row[None], line(4), solver)[0], one, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("solver", "allowed"), [("midpoint", 1e-3), ("heun", 1e-3), ("adaptive", 1e-5)])
def test_there_and_back(begin, solver, allowed):
    times = line(60)
    there = integrate(bend, begin, times, solver, tolerance=1e-7)
    back = integrate(bend, there, times.flip(0), solver, tolerance=1e-7)
    assert (there - begin).abs().max() > 0.3
    assert (back - begin).abs().max() < allowed


def test_adaptive_stops_at_what_is_not_finite_and_at_what_is_too_fast(begin, monkeypatch):
    monkeypatch.setattr(ode, "MOST_STEPS", 20)
    with pytest.raises(UserError, match="not finite"):
        integrate(lambda x, t: x / 0, begin, line(1), "adaptive")
    with pytest.raises(UserError, match="more than 20 steps"):
        integrate(lambda x, t: (1e5 * t[:, None]).sin() * 1e5 + 0 * x, begin, line(1), "adaptive", tolerance=1e-6)
