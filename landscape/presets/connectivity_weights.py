"""The section `weights` of a config of `connectivity`: classifiers joined in weight space."""


def weights(dataset: str, smoke: bool) -> dict:
    """Its values for a data set; `smoke` makes them small."""
    return dict(
        num_members=4 if smoke or dataset != "digits" else 8,  # every two of the first ones; below 4 no interval
        matchings=("none", "weight", "activation"),  # by what the second end's units are put in order
        num_points=5 if smoke else 25,  # places on every way, both ends among them
        num_examples=20 if smoke else 1000,  # test images
        num_images=64 if smoke else 512,  # training images: statistics of units, activations for matching
        curves=("bezier", "chain"),  # trained ways beside the line
        num_bends=1,  # points of a curve between its ends
        num_epochs=1 if smoke else {"digits": 40}.get(dataset, 8),  # of the curves' training
        learning_rate=3e-3,  # of AdamW at its first step; it falls to 0 along half a cosine
        restarts=1 if smoke else 4,  # orders in which matching by weights takes the layers; the best one is kept
    )
