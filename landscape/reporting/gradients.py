"""Figures of `gradients`: which pixels, and which directions of a manifold, raise each class; where ascent leads."""

from landscape.reporting import (
    gradient_agreement,
    gradient_ascents,
    gradient_ends,
    gradient_guided,
    gradient_maps,
    gradient_objectives,
    plate,
)

NEEDS_GUIDED = ("kind", "size", "guide", "guided_target")

PLATES = (
    plate.Plate(
        "guided",
        "Where several classifiers lead together",
        "Each row climbs the class after its arrow, from an image, from noise and from zeros (not chosen), guided by k "
        "classifiers at once (first block), in pixels and on the manifold of an autoencoder. Below, the probability "
        "that classifiers give which did not guide, mean over starts: where a solid line lies below its dashed one, "
        "the guides believe what others do not; where more guides lift the solid line, what they share is what other "
        "classifiers see too.",
        NEEDS_GUIDED,
        gradient_guided.guided,
        narrow=gradient_guided.guided_narrow,
        table=gradient_guided.guided_table,
    ),
    plate.Plate(
        "guided_objectives",
        "Five ways of being guided",
        "Ends of ascents from images: the objective is the guides' mean, their least one, the mean less their spread "
        "(cautious; of two it is the least), the mean along what all gradient signs agree on, or the guides' "
        "disagreement. "
        "Good ascents are high in a and low in c, d and e; e is the share of the predicted class's margin that noise "
        "takes away (sharper is higher). Some objectives hardly move (f), which lowers a: b compares all at one "
        "distance from the start, taking the ascents that go there. Small dots are judges.",
        NEEDS_GUIDED,
        gradient_objectives.objectives,
    ),
    plate.Plate(
        "guided_objective_pictures",
        "The same as pictures",
        "Ends of the same starts by objective, with as many guides as there are; beneath each the mean probability "
        "that classifiers which did not guide give the class after the arrow.",
        NEEDS_GUIDED,
        gradient_objectives.pictures,
        kind="png",
    ),
    plate.Plate(
        "maps",
        "Which pixels raise each class",
        "Mean of several classifiers; scales per pixel, on manifolds in pixels per unit of the latent. Of real latents "
        "(ae, vae, sphere) the push-forward is what the image does as the latent moves along its gradient, exactly; "
        "the finite step goes along the same direction, its length taken out, and tells how far that holds. Of codes "
        "(vq, fsq) the gradient is straight-through, as if the nearest code moved with the latent, so that a finite "
        "step may change nothing (blank) or jump to other codes. Where the predicted class is nearly certain its log "
        "probability has nothing left to rise by: a pale column. Beyond ten classes the first ones are shown.",
        ("shown", "class"),
        gradient_maps.maps,
        kind="png",
    ),
    plate.Plate(
        "agreement",
        "What gradients have in common",
        "a: cosine of two classifiers' gradients for the same image and class (manifolds: of their push-forwards), a "
        "dot a pair; further right, more of a gradient belongs to the data than to the classifier. A probability and "
        "its logarithm point the same way. b: how much of the pixels' gradient lies along the manifold, a dot a "
        "classifier. c: 1 where a finite step does what the derivative says; codes do not follow small steps.",
        ("prediction", "class"),
        gradient_agreement.agreement,
    ),
    plate.Plate(
        "ascent_target",
        "One class from many starts",
        "Recorded states of ascents of one class by one classifier, starts not chosen (a number is the class of an "
        "image); under each last picture its probability by the classifiers that did not guide. A point of a hidden "
        "layer is no image: shown is the training image nearest to it there, and the probability is the guide's own.",
        ("kind", "start", "class"),
        gradient_ascents.target,
        kind="png",
    ),
    plate.Plate(
        "ascent_sample",
        "Every class from one start",
        "Ends of ascents from one image, one noise and zeros by one classifier, and beneath each what it changed (red "
        "brighter, blue darker; in colour images no change is mid-grey); numbers: probability by the classifiers that "
        "did not guide. In pixels a high number on a picture that looks like nothing is what classifiers share beyond "
        "what we see.",
        ("kind", "start", "class"),
        gradient_ascents.sample,
        kind="png",
    ),
    plate.Plate(
        "ascent_curves",
        "How ascents climb",
        "Means over starts and classes. An objective that still rises at the end needs more steps. One that stays "
        "below the top is caught where its gradient vanishes, and zigzags across a ridge, its steps too long, where "
        "the gradient does not. Gradients are told per unit of their place, so compare their shape, not their height; "
        "a line that leaves its panel has arrived.",
        ("kind", "start", "class"),
        gradient_ends.curves,
    ),
    plate.Plate(
        "ascent_ends",
        "Where ascents end",
        "A dot is a classifier that guides alone, mean over starts and classes. In a, far-apart hollow and filled dots "
        "are classes that only the guide sees: adversarial; in c, ends far from every training image left the data.",
        ("kind", "start", "class"),
        gradient_ends.ends,
    ),
)
