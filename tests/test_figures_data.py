"""Figures of data sets, and the tables behind them."""
import numpy as np

from restyle_lib import figures_data, load_domain, verify
from restyle_lib.domains import load_dataset

RANDOM = np.random.default_rng(0)


def test_a_batch_lies_where_its_domain_has_images():
    def some(height, width):
        return RANDOM.integers(0, 256, (2, height, width, 3), dtype=np.uint8)

    square, wide = some(64, 64), some(48, 64)
    figure = figures_data.batches([(load_domain("avatars"), square, square),
                                   (load_domain("minicars"), wide, wide)])
    rows = list(dict.fromkeys(row["row"] for row in figure.rows))
    assert rows == ["avatars 64×64", "minicars, generator 64×64", "minicars, encoder 48×64"]
    boxed = figures_data.boxed(wide, 64, 64)
    assert np.array_equal(boxed[:, 8:56], wide) and (np.delete(boxed, range(8, 56), 1) == 255).all()


def test_regions_have_a_cell_each():
    split = load_dataset("minicars").split("test")
    figure = figures_data.regions({"cars": split}, 3, side=32)
    assert [row["text"] for row in figure.rows] == ["image", *split.world.REGIONS]


def test_correlations_are_by_rank_and_each_pair_stands_once():
    x = RANDOM.normal(size=300)
    table = {"x": x, "cube": x ** 3, "other": RANDOM.normal(size=300)}
    matrix = verify.rank_correlations(table, list(table))
    assert np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)
    assert matrix[0, 1] > 0.999 and abs(matrix[0, 2]) < 0.2
    figure = figures_data.correlations({"train": matrix}, list(table))
    pairs = [(row["first"], row["second"]) for row in figure.rows]
    assert pairs == [("cube", "x"), ("other", "x"), ("other", "cube")]


def test_marginals_of_numbers_words_and_truth_values():
    first = {"size": np.linspace(0, 1, 100), "worn": np.array([0.0, 1.0] * 50),
             "kind": np.array([0.0, 2.0] * 50), "maker": np.array(["a", "b"] * 50)}
    second = first | {"worn": np.zeros(100), "maker": np.array(["b", "c"] * 50)}
    found = verify.marginals(first, second, {"kind": ("cat", "dog", "hen")})
    assert found["size"]["apart"] == 0 and len(found["size"]["edges"]) == 17
    worn = {"classes": [False, True], "first": [0.5, 0.5], "second": [1.0, 0.0], "apart": 0.5}
    assert found["worn"] == worn
    assert found["kind"]["classes"] == ["cat", "dog", "hen"] and found["kind"]["first"] == [0.5, 0.0, 0.5]
    assert found["maker"]["classes"] == ["a", "b", "c"] and found["maker"]["apart"] == 0.5
