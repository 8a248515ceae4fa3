"""The figures about training."""
from restyle_lib import figures_training


def test_attributes_are_shown_worst_first():
    found = {"yaw": {"edges": [-1.0, 0.0, 1.0], "first": [0.5, 0.5], "second": [0.4, 0.6], "apart": 0.1},
             "hat": {"classes": [False, True], "first": [0.9, 0.1], "second": [0.5, 0.5], "apart": 0.4},
             "hair": {"classes": list("abcd"), "first": [0.25] * 4, "second": [0.25] * 4, "apart": 0.0}}
    figure = figures_training.attributes(found, count=2)
    assert [axes.get_title() for axes in figure.axes] == ["hat 0.40", "yaw 0.10"]
    assert [row["attribute"] for row in figure.rows[:2]] == ["hat", "hat"] and len(figure.rows) == 8
