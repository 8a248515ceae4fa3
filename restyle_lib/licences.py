"""What everything stands under: the packages that this one needs, by their own words, and published files."""
from importlib import metadata

from . import registry
from .errors import UserError

PACKAGE = "restyle-workbook"


def packages(name=PACKAGE):
    """Rows {package, version, licence} of all that is installed and needed, at whatever depth, extras too."""
    from packaging.requirements import Requirement       # comes with matplotlib

    try:
        waiting = [Requirement(line).name for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        raise UserError(f"{name} is not installed; install it with pip install -e '.[test]'") from None
    rows = {}
    while waiting:
        if (one := waiting.pop().lower().replace("_", "-")) in rows:
            continue
        try:
            found = metadata.distribution(one)
        except metadata.PackageNotFoundError:             # of an extra, or for another system
            continue
        rows[one] = {"package": found.name, "version": found.version, "licence": _licence(found.metadata)}
        needs = map(Requirement, found.requires or ())
        waiting += [r.name for r in needs if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [rows[one] for one in sorted(rows)]


def _licence(facts):
    """Its expression, else its classifiers, else the first line of what else it says."""
    told = facts.get("License-Expression")
    lines = [line.split(" :: ") for line in facts.get_all("Classifier", ())]
    classes = [words[-1] for words in lines if words[0] == "License"]
    first = (facts.get("License") or "").strip().partition("\n")[0]
    return told or ", ".join(classes) or first[:60] or "not stated"


def files():
    """Rows {file, what, licence, commercial} of the registry, in its order."""
    allowed = {True: "yes", False: "no", None: "not stated"}
    return [{"file": file.name, "what": file.kind, "commercial": allowed[file.terms.commercial],
             "licence": file.terms.licence} for file in registry.files().values()]
