"""Figures of `noise`: does searching against redrawn classifiers end in flatter, more transferable places?"""

from landscape.reporting import noise_arms, noise_curves, noise_grid
from landscape.reporting.plate import Plate

TOLD = ("told", "told_low", "told_high", "kept_told", "kind", "radius")
CHANGE = ("change", "change_low", "change_high", "kind", "radius")

PLATES = (
    Plate(
        "dose",
        "More noise, told as the accuracy it leaves",
        "Each search spends the same number of gradients, with the step size that is best for it on validation images; "
        "results are shortened to one length, as many radii of the ball for all sources; what does not come so far is "
        "left out. Filled: a classifier redrawn at every gradient; open: one draw frozen for the whole search, another "
        "classifier but no noise, so what open and filled share is not due to noise. The line with its band is the "
        "search without noise; "
        "bars are 95 % intervals over sources and images. Judges never guided. Less margin lost is flatter. Off "
        "manifold: the L2 distance from what an autoencoder of another seed makes of the result.",
        TOLD,
        noise_curves.dose,
        narrow=noise_curves.dose_column,
        table=noise_curves.dose_table,
    ),
    Plate(
        "changes",
        "Every arm beside no noise, at equal norm",
        "Paired differences from the search without noise, same images and sources, with 95 % intervals: those right "
        "of zero in the third column transfer better, those left of zero in the second and last end in flatter, "
        "straighter places. ξ is the radius of the noise relative to each layer's weights; arms × ball take the middle "
        "radius, the annealed one falls from the largest to 0.",
        CHANGE,
        noise_arms.changes,
    ),
    Plate(
        "dose_margin",
        "The same at equal margin",
        "The first point on the straight way from the start to the result where the source's margin at the goal is the "
        "same for all arms (images that an arm does not bring there are left out of it): confidence is no longer what "
        "differs. Off tangent: how far the margin strays from its linearisation within the noise's length.",
        TOLD,
        noise_curves.at_margin,
    ),
    Plate(
        "changes_margin",
        "Every arm beside no noise, at equal margin",
        "Read as above; over the images for which both arms reach the margin. The last column says how much farther or "
        "nearer that point is.",
        CHANGE,
        noise_arms.changes_at_margin,
    ),
    Plate(
        "collapse",
        "Is it the noise of SGD?",
        "How flat a search ends, for every step size and number of draws a step, at an equal number of gradients. If "
        "flatness is a matter of the noise's temperature η / M alone, the left column is one curve and explains as "
        "much as can be explained. The row ξ = 0 has no noise: there only the way gone, also a function of η / M, is "
        "left, and a collapse in other rows that is no better than in that one is no evidence. Titles: share of the "
        "variance between cells that a quadratic in the logarithm explains [95 % interval]. Open: more than half of "
        "the coordinates end at the boundary, where η / M can matter little.",
        ("grid_flatness", "grid_stuck", "grid_eta", "grid_draws", "grid_radius", "collapse"),
        noise_grid.collapse,
    ),
    Plate(
        "tuning",
        "How step sizes were chosen",
        "On validation images: the mean margin at the goal that the unperturbed source gives the end of the search. "
        "Ringed: what each arm took; a ring at an end of the grid might lie beyond it.",
        ("tuning", "chosen", "kind"),
        noise_curves.tuning,
    ),
    Plate(
        "pictures",
        "The results themselves",
        "The first test images, first source, at equal norm; not chosen.",
        ("picture", "picture_start", "kind"),
        noise_arms.pictures,
        kind="png",
    ),
)
