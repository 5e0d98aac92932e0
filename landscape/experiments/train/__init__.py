"""How good are classifiers that differ only in their seed, and how different are they?"""

from landscape.experiments.base import SCHEMA, Experiment, Quantity

VALUES = ("member", "example")
EXPERIMENT = Experiment(
    package=__name__,
    question="How good are classifiers that differ only in their seed, and how different are they?",
    schema={
        "label": Quantity(("example",), "1", "true class"),
        "prediction": Quantity(VALUES, "1", "predicted class"),
        "confidence": Quantity(VALUES, "1", "largest class probability"),
        "loss": Quantity(VALUES, "nats", "cross-entropy of the true class"),
        "brier": Quantity(VALUES, "1", "squared distance of the probabilities from the true class"),
        "train_loss": Quantity(("member", "epoch"), "nats", "mean training loss over the epoch"),
        "validation_accuracy": Quantity(("member", "epoch"), "1", "share of validation images classified correctly"),
        "epoch": Quantity(("epoch",), "epochs", "epochs trained"),
        **SCHEMA,
    },
    controls=True,
)
