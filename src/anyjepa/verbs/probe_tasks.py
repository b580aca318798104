"""What ``anyjepa probe`` can score, and which of its options each task uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Options = dict[str, Any]

UNSET: Options = {
    "encoder": "target",
    "pooling": "mean",
    "layers": [-1],
    "batch_size": 256,
    "untrained": False,
    "markdown": False,
}
"""What options are when they are not given; the others are None."""
ALWAYS = frozenset({"task", "models", "seeds", "out"})


@dataclass(frozen=True)
class Task:
    """One thing to score.

    Attributes:
        help: what it is, for people.
        uses: its options, beside the runs, the data and :data:`ALWAYS`.
        run: from runs, data, test data, options of reading and those of the task to what is printed.
        several: whether it compares runs.
    """

    help: str
    uses: frozenset[str]
    run: Callable[[list[str], str, str | None, Options, Options], Any]
    several: bool = True

    def score(self, run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
        """Refuse what the task does not use, and run it with the rest.

        Raises:
            ConfigError: an option was given that it does not use.
        """
        from anyjepa.errors import ConfigError

        strange = [
            f"--{name.replace('_', '-')}"
            for name, value in options.items()
            if name not in self.uses | ALWAYS and value != UNSET.get(name)
        ]
        if "test" not in self.uses and test is not None:
            strange.append("--test")
        if options["encoder"] == "both" and "encoders" not in self.uses:
            strange.append("--encoder both")
        if not self.several and len(run) > 1:
            strange.append("further runs")
        if strange:
            told = [name + self._owner(name, options) for name in dict.fromkeys(strange)]
            raise ConfigError(f"{self._named(options)} {self.help}: leave out {', '.join(told)}")
        kept = {name: options[name] for name in options if name in self.uses | {"seeds", "out"}}
        return self.run(run, data, test, read, kept)

    @staticmethod
    def _named(options: Options) -> str:
        if options["models"] is not None:
            return "--models"
        return "without --task it" if options["task"] is None else f"--task {options['task']}"

    @staticmethod
    def _owner(option: str, options: Options) -> str:
        """Who alone uses an option that this task does not."""
        if option[2:].replace("-", "_") in CLASSES.uses:
            return ""
        for name, task in {
            "--models": MODELS,
            **{f"--task {name}": task for name, task in TASKS.items()},
        }.items():
            if option[2:].replace("-", "_") in task.uses and options["models"] is None:
                return f" (it is for {name})"
        return ""


def _progress() -> Any:
    from anyjepa.verbs.counting import Counting

    return Counting()


def _classes(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
    from anyjepa.evaluation.finetune import FinetuneConfig
    from anyjepa.evaluation.probe import probe

    steps, markdown, draws = (options.pop(name) for name in ("finetune_steps", "markdown", "draws"))
    if draws is not None:
        options["seeds"] = _seeds(draws, options["seeds"])
    if steps is not None:
        options["finetune"] = FinetuneConfig(min_steps=steps, max_steps=steps)
    options["seeds"] = options["seeds"] or [0]
    result = probe(run, data, test, read=read, progress=_progress(), **options)
    return result.markdown() if markdown else result


def _seeds(draws: int, seeds: list[int] | None) -> list[int]:
    """The seeds of so many draws."""
    from anyjepa.errors import ConfigError

    if seeds is not None or draws < 1:
        raise ConfigError(
            f"--draws {draws} {'must be at least 1' if draws < 1 else 'and --seeds say the same: leave one of the two out'}"
        )
    return list(range(draws))


def _sets(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
    from anyjepa.evaluation.probe_sets import probe_sets

    options["seeds"] = options["seeds"] or [0]
    return probe_sets(run, data, read=read, progress=_progress(), **options)


def _future(what: str) -> Callable[..., Any]:
    def run(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
        from anyjepa.evaluation.probe_future import probe_future

        options["seeds"] = options["seeds"] or [0]
        return probe_future(run, data, test, what=what, read=read, progress=_progress(), **options)

    return run


def _sequences(what: str) -> Callable[..., Any]:
    def run(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
        from anyjepa.evaluation.sequences import probe_sequences

        options["seeds"] = options["seeds"] or [0]
        heads = options.pop("probes")
        if heads:
            options["heads"] = heads
        columns = {name: options.pop(name) for name in ("image_column", "label_column")}
        read = read | {name: value for name, value in columns.items() if value}
        lengths = options.pop("lengths") or [1, 3, 5]
        return probe_sequences(
            run, data, test, task=what, lengths=lengths, read=read, progress=_progress(), **options
        )

    return run


def _segmentation(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
    from anyjepa.errors import ConfigError
    from anyjepa.evaluation.probe_dense import probe_segmentation

    options["seeds"] = options["seeds"] or [0]
    labels = options.pop("labels")
    if labels is not None and (len(labels) > 1 or not labels[0].isdigit()):
        raise ConfigError(f"--labels of --task segmentation is one number of images, got {' '.join(labels)}")
    options["labels"] = None if labels is None else int(labels[0])
    return probe_segmentation(run, data, test, read=read, progress=_progress(), **options)


def _propagation(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
    from anyjepa.evaluation.probe_dense import probe_propagation
    from anyjepa.evaluation.propagation import PropagationConfig

    options["seeds"] = options["seeds"] or [0]
    radius = options.pop("radius")
    config = PropagationConfig() if radius is None else PropagationConfig(radius=radius)
    return probe_propagation(run, data, config=config, read=read, progress=_progress(), **options)


def _models(run: list[str], data: str, test: str | None, read: Options, options: Options) -> Any:
    from anyjepa.tabular.compare import SEEDS, compare
    from anyjepa.tabular.fitting import FitConfig
    from anyjepa.tabular.settings import MODELS as ALL

    models, markdown, trials = options.pop("models"), options.pop("markdown"), options.pop("trials")
    result = compare(
        run[0],
        data,
        test,
        models=ALL if models == ["all"] else models,
        trials=8 if trials is None else trials,
        limits=FitConfig(seconds=options.pop("seconds")),
        read=read,
        progress=_progress(),
        **options | {"seeds": options["seeds"] or SEEDS},
    )
    return result.markdown() if markdown else result


_READING = {"test", "encoder", "label_column", "batch_size", "device"}
CLASSES = Task(
    "scores classes or values",
    frozenset(
        _READING
        | {
            "encoders",
            "task",
            "probes",
            "labels",
            "per_class",
            "draws",
            "pooling",
            "layers",
            "image_column",
            "finetune_steps",
            "markdown",
        }
    ),
    _classes,
)
MODELS = Task(
    "compares models on the tokens of one encoder of one run, of classes or of values",
    frozenset(_READING | {"models", "task", "labels", "untrained", "trials", "seconds", "markdown"}),
    _models,
    several=False,
)
_TOKENS = frozenset({"encoder", "layers", "batch_size", "device"})
_VIEWS = frozenset({"test", "encoder", "device", "probes", "lengths", "image_column", "label_column"})
TASKS: dict[str, Task] = {
    "sets": Task(
        "scores several labels of each sample by one linear probe of one encoder on the split of --data, macro AUROC over all",
        frozenset({"encoder", "pooling", "layers", "batch_size", "device"}),
        _sets,
    ),
    "states": Task(
        "scores what a fresh head on the frozen encoder tells of the states to come of demonstrations",
        frozenset({"test"}),
        _future("states"),
    ),
    "actions": Task("the same for their actions", frozenset({"test"}), _future("actions")),
    "sequence": Task(
        "scores classes from the aggregate of sequences of views", _VIEWS, _sequences("sequence")
    ),
    "equivariance": Task("scores the transformation between two views", _VIEWS, _sequences("equivariance")),
    "retrieval": Task(
        "looks for the predicted view among all of its object", _VIEWS, _sequences("retrieval")
    ),
    "path": Task("scores the way from the first view to the last", _VIEWS, _sequences("path")),
    "segmentation": Task(
        "names the class of every pixel by a linear layer on patch tokens, of images with masks",
        _TOKENS | {"test", "labels"},
        _segmentation,
    ),
    "propagation": Task(
        "follows the first frame's mask through clips by likeness of patch tokens",
        _TOKENS | {"radius"},
        _propagation,
    ),
}
"""Tasks that are named, beside classes and values."""
