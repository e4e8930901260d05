import numpy as np
import pytest
import torch

from pipeline.errors import UserError
from pipeline.generate.autoencoder import AutoEncoder
from pipeline.generate.autoencoder_settings import AutoEncoderSettings
from pipeline.generate.gaussian import Gaussian
from pipeline.generate.gaussian_settings import GaussianSettings
from pipeline.generate.outlier import outlier_score, outlier_table, reconstruction_error
from pipeline.sky.catalogue import read_catalogue, write_catalogue


class Mean:
    """Reconstructs every sample as zero."""

    def reconstruct(self, module, x, condition=None):
        return torch.zeros_like(x)


class Usual(torch.nn.Module):
    def __init__(self, residual):
        super().__init__()
        self.register_buffer("residual", residual)


def test_the_usual_error_is_one_in_every_pixel():
    usual = torch.tensor([[0.1, 1.0, 5.0]])
    x = usual * torch.randn((4000, 1, 3), generator=torch.Generator().manual_seed(0))
    score = reconstruction_error(Mean(), Usual(usual), x)
    assert np.sqrt((score**2).mean()) == pytest.approx(1, abs=0.02)
    odd = torch.tensor([[[0.6, 0.0, 0.0]], [[0.0, 0.6, 0.0]]])  # as bright, but where nothing is usual
    first, second = reconstruction_error(Mean(), Usual(usual), odd)
    assert first == pytest.approx(10 * second)


def test_a_likelihood_finds_what_is_far_from_the_training_set():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(300, 1, 5)) * [1, 2, 0.3, 1, 1]).float()
    method = Gaussian(GaussianSettings())
    module = method.build(1, (1, 5), 0)
    method.fit(module, x, torch.zeros(300, 0))
    odd = torch.zeros(3, 1, 5)
    odd[1, 0, 1], odd[2, 0, 2] = 2.0, 2.0
    kind, score = outlier_score(method, module, odd)
    assert kind == "likelihood"
    assert score[0] < score[1] < score[2]
    assert score == pytest.approx(-method.log_density(module, odd).numpy())


def test_scores_do_not_depend_on_the_batch():
    method = AutoEncoder(AutoEncoderSettings(widths=(4,), latent=2, components=1))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = method.build(1, (1, 6), 0)
    x = torch.randn((300, 1, 6), generator=torch.Generator().manual_seed(0))
    method.fit_latent(module, x, torch.zeros(300, 0))
    kind, whole = outlier_score(method, module, x)
    assert kind == "reconstruction"
    assert np.sqrt((whole**2).mean()) == pytest.approx(1, abs=1e-3)
    assert whole[:3] == pytest.approx(reconstruction_error(method, module, x[:3]), rel=1e-4)


def test_a_method_without_either_has_no_score():
    assert outlier_score(object(), Usual(torch.ones(1, 2)), torch.zeros(2, 1, 2)) is None


def test_the_table_ranks_the_oddest_first(tmp_path):
    scores = {"vae": np.array([1.0, 3.0, 2.0, 0.5]), "mixture": np.array([10.0, np.inf, 20.0, 20.0])}
    table = outlier_table(["a", "b", "c", "d"], scores, {"mixture": "likelihood"})
    assert list(table["id"]) == ["b", "c", "d", "a"]
    assert list(table["rank"]) == [1, 2, 3, 4]
    assert list(table["rank_vae"]) == [1, 2, 4, 3]
    assert list(table["rank_mixture"]) == [1, 2, 2, 4]
    assert list(table["score_vae"]) == [3.0, 2.0, 0.5, 1.0]
    assert all(table[name].info.meta["ucd"] for name in table.colnames)
    write_catalogue(table, tmp_path / "outliers.fits")
    assert list(read_catalogue(tmp_path / "outliers.fits")["id"]) == ["b", "c", "d", "a"]


def test_the_order_of_samples_does_not_matter():
    rng = np.random.default_rng(1)
    ids, score = np.array([f"s{k}" for k in range(30)]), rng.normal(size=30)
    order = rng.permutation(30)
    first, second = outlier_table(ids, {"x": score}), outlier_table(ids[order], {"x": score[order]})
    assert list(first["id"]) == list(second["id"])


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="sample b: has no score by vae; look for NaN pixels in it"):
        outlier_table(["a", "b"], {"vae": np.array([1.0, np.nan])})
