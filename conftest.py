"""For tests and notebooks: results go to a temporary folder, nothing is interactive, nbval compares text."""
import os
import shutil
import tempfile

OUTPUTS = tempfile.mkdtemp(prefix="restyle-outputs-")
os.environ.update(RESTYLE_OUTPUTS=OUTPUTS, RESTYLE_INTERACTIVE="0")
os.environ.update(MPLBACKEND="agg", JUPYTER_PREFER_ENV_PATH="1")
NOT_COMPARED = ("stderr", "text/html", "application/javascript", "application/vnd.restyle.records+json")


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):  # a notebook under nbval
        collector.skip_compare += NOT_COMPARED


def pytest_itemcollected(item):
    if getattr(item, "cell", None) and item.cell.outputs:  # nbval wants a count beside stored outputs
        item.cell.execution_count = 1


def pytest_unconfigure():
    shutil.rmtree(OUTPUTS, ignore_errors=True)
