"""Does training on examples moved toward their runner-up class improve a classifier; at which layer, in which way?"""

from landscape.experiments.augmentation.config import FIELDS, check
from landscape.experiments.base import SCHEMA, Experiment, Quantity
from landscape.experiments.quantities import measured_schema

VALUES = ("arm", "member", "example")
PROBED = ("arm", "member", "probed")
MEASURED = ("member", "arm", "probed")
MOVED = ("move", "member", "probed")
BATCHED = ("direct", "member", "batched")
EXPERIMENT = Experiment(
    package=__name__,
    question="Does training on examples that are moved toward their runner-up class, in the image or in a hidden "
    "layer, improve a classifier?",
    schema={
        "label": Quantity(("example",), "1", "true class"),
        "right": Quantity(VALUES, "1", "whether the test image is classified correctly"),
        "confidence": Quantity(VALUES, "1", "largest class probability"),
        "loss": Quantity(VALUES, "nats", "loss of the true class"),
        "brier": Quantity(VALUES, "1", "squared distance of the probabilities from the true class"),
        "margin": Quantity(PROBED, "logits", "margin of the predicted class"),
        "robust": Quantity(PROBED, "1", "whether the image is classified correctly before and after the attack"),
        "input_probability_drop": Quantity(PROBED, "probability", "mean fall of the predicted class's, input noise"),
        "input_margin_drop": Quantity(PROBED, "logits", "mean fall of the predicted class's margin, input noise"),
        "weight_probability_drop": Quantity(PROBED, "probability", "mean fall of the predicted class's, weight noise"),
        "weight_margin_drop": Quantity(PROBED, "logits", "mean fall of the predicted class's margin, weight noise"),
        "trial_accuracy": Quantity(("trial", "search_seed"), "1", "accuracy on validation images"),
        "trial_loss": Quantity(("trial", "search_seed"), "nats", "mean loss on validation images"),
        "trial": Quantity(("trial",), "1", "number of what was tried"),
        "trial_arm": Quantity(("trial",), "1", "the arm that it was tried for"),
        "trial_setting": Quantity(("trial",), "1", "what was tried, in words"),
        "trial_epsilon": Quantity(("trial",), "1", "size: relative step, alpha of mixup, or radius in pixels"),
        "setting": Quantity(("arm",), "1", "what the arm is trained with, in words"),
        "step_seconds": Quantity(("timed", "round"), "seconds", "time of a training step of one classifier"),
        "timed": Quantity(("timed",), "1", "arm whose training step is timed"),
        "changed": Quantity(MOVED, "1", "whether the move changes the prediction"),
        "to_runner_up": Quantity(MOVED, "1", "whether the moved example is predicted as its runner-up class"),
        "stays_in_class": Quantity(MOVED, "1", "whether the nearest training image is of the true class, after"),
        "was_in_class": Quantity(MOVED, "1", "whether the nearest training image is of the true class, before"),
        "distance_after": Quantity(MOVED, "1", "distance to the nearest training example in the layer, after the move"),
        "distance_before": Quantity(MOVED, "1", "distance to the nearest training example in the layer, before"),
        "error_after": Quantity(MOVED, "pixels", "distance of a moved image from its reconstruction; NaN in layers"),
        "error_before": Quantity(MOVED, "pixels", "distance of the image from its reconstruction; NaN in layers"),
        "batch_cosine": Quantity(BATCHED, "1", "cosine of the gradients of batch_sum and of the own runner-up's logit"),
        "batch_length": Quantity(BATCHED, "1", "length of the gradient of batch_sum, logits over the layer's unit"),
        "own_length": Quantity(BATCHED, "1", "length of the gradient of the own runner-up's logit, in the same unit"),
        "pictures": Quantity(("move", "shown", "height", "width", "channel"), "pixels", "moved images; NaN in layers"),
        "neighbors": Quantity(
            ("move", "side", "shown", "height", "width", "channel"), "pixels", "nearest training image in the layer"
        ),
        "images": Quantity(("shown", "height", "width", "channel"), "pixels", "test images that are pictured"),
        "probed": Quantity(("probed",), "1", "id of the test image that is attacked, moved and given noise"),
        "shown": Quantity(("shown",), "1", "id of the pictured image"),
        "move": Quantity(("move",), "1", "arm whose moves are looked at, in classifiers trained without it"),
        "direct": Quantity(("direct",), "1", "layer in which batch_sum is compared with the own runner-up"),
        "batched": Quantity(("batched",), "1", "id of the test image, in batches of 128 in this order"),
        "side": Quantity(("side",), "1", "before or after the move"),
        "arm": Quantity(("arm",), "1", "how the classifiers are trained"),
        **measured_schema(MEASURED),
        **SCHEMA,
    },
    check=check,
    fields=FIELDS,
)
