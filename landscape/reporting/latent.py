"""Figures of `latent`: what does a latent space look like; what lies around and between embeddings?"""

from landscape.reporting import (
    latent_chains,
    latent_global,
    latent_maps,
    latent_noise,
    latent_paths,
    latent_samplers,
    latent_statistics,
    plate,
)

CODES = "codes (vq, fsq) are sampled by Metropolis within Gibbs"
DEFINES = "for families without a prior of their own the Gaussian fitted to their latents DEFINES the global target"

PLATES = (
    plate.Plate(
        "chains",
        "What lies around embeddings, guided toward their class",
        "Pictures: a test image, what its embedding decodes to, and states of chains that reach s white units (1 is a "
        "typical spread of the latent) while the guide (a seed's own classifier; of a vote, all but the next seed's) "
        "pulls toward the image's class, beside unguided noise of that size (first seed). Below: where the coloured "
        "line stays above the grey one, guidance finds the class where chance would lose it; where dashed falls below "
        "solid, it finds what only its guide believes. "
        "Own class: the one that the classifier gives to the test image; small dots are seeds.",
        ("family", "sampler", "radius", "start"),
        latent_chains.chains,
        narrow=latent_chains.chains_narrow,
        table=latent_chains.chains_table,
    ),
    plate.Plate(
        "guided",
        "The same curves for every family",
        "A larger gap between colour (chains) and grey (noise) is more room for the class in directions that chance "
        f"seldom takes. First sampler of each family; {CODES}, and s is there in typical distances of a code from "
        "their mean.",
        ("family", "sampler", "radius"),
        latent_chains.guided,
    ),
    plate.Plate(
        "chain_pictures",
        "Guided chains of the other families",
        "Two embeddings, the same for all families, read as in the first figure.",
        ("family", "sampler", "radius", "start"),
        latent_chains.pictures,
        kind="png",
        optional=True,
    ),
    plate.Plate(
        "samplers",
        "Do the samplers agree, and have they converged?",
        "Samplers of one target should lie on one line in the first two columns. Drift is the root mean square "
        "distance from the embedding, without guidance s (dashed). R-hat above 1.01 or 1.1 (dashed) says that chains "
        "from different places still differ; the sample size is at most the states kept (dashed). Both are medians "
        f"over embeddings, worst dimension; {CODES}; theirs are of the log density, of chains that start "
        "at codes drawn near the embedding's, and end where nothing moved. Dotted: the share of steps that change a "
        "code, which is small where few codes carry the prior, however many proposals are accepted.",
        ("family", "sampler", "radius"),
        latent_samplers.behaviour,
    ),
    plate.Plate(
        "reached",
        "Chains that may go anywhere",
        "Guided toward each class in turn (colour) or not at all (grey), dots are seeds; dashed in a is an even share. "
        "Guidance works where colour lies right of grey. vae and sphere have their own priors; "
        f"{DEFINES}, and {CODES} under the frequencies of their codes. "
        "Poor mixing between classes (grey near 1 in b, large R-hat) is a finding about "
        "the latent space, not an error, though few effective samples (d, dashed: states kept) leave open whether "
        "longer chains would mix; of codes c and d are of the log density, and chains that never moved are stuck; "
        "samplers keep states at different intervals, so compare b within one.",
        ("family", "sampler", "guided", "class"),
        latent_global.reached,
    ),
    plate.Plate(
        "mixing",
        "From class to class along these chains",
        "Row: predicted class of a kept state, column: of the next one, all chains and seeds of the first sampler; "
        "rows sum to 1, sand-coloured rows were never visited. Below, a dark diagonal is a latent space whose classes "
        "are islands (poor mixing is a finding), a dark column a class that much of the latent decodes to. Above, "
        "chains toward all classes are pooled, so the diagonal also says how firmly guidance holds its class.",
        ("family", "sampler", "guided", "class"),
        latent_global.mixing,
    ),
    plate.Plate(
        "global_pictures",
        "Where chains toward each class end",
        f"Last state of a chain guided toward the class above, first seed and sampler, not chosen; {DEFINES}.",
        ("family", "sampler", "guided", "class"),
        latent_global.pictures,
        kind="png",
    ),
    plate.Plate(
        "measures",
        "The latent in numbers",
        "A dot is a seed (f, g: a pair of seeds), a tick the mean. a: dimensions given, used (active), spanned "
        "(effective, from the spectrum) and occupied (intrinsic, TwoNN). b: distance of the latents from the prior "
        "(vae, sphere; filled) or from the Gaussian fitted to them (others; hollow), lines are each seed's 95 % "
        "interval; of vae b and c take draws of the posterior. c: a classifier tells latents (of many dimensions the "
        "64 widest) from a fitted Gaussian, 0.5 is chance. d, e: how well classes are told apart. f, g: 1 is the same "
        "latent up to rotation, or up to a linear map.",
        ("family",),
        latent_statistics.measures,
    ),
    plate.Plate(
        "spread",
        "How latents are spread",
        "a: a curve that rises late uses its dimensions evenly. b: a Gaussian of many dimensions makes one narrow "
        "hill, a sphere a line. c, d: a dot is a dimension of a seed; a Gaussian's lie within the grey band (two "
        "standard errors), negative kurtosis is flatter than a Gaussian, as with codes on a grid.",
        ("family",),
        latent_statistics.spread,
    ),
    plate.Plate(
        "projection",
        "Test images in the latent",
        "Each panel shows the two directions of largest variance of the first seed's latents, coloured by true class; "
        "classes that overlap here may still be apart in other directions.",
        ("family", "label"),
        latent_maps.projections,
    ),
    plate.Plate(
        "correlation",
        "Correlations between latent dimensions",
        "First seed, red together and blue opposite; a blank square off the diagonal is a latent whose dimensions "
        "are used independently (to second order).",
        ("family",),
        latent_maps.correlations,
        optional=True,
    ),
    plate.Plate(
        "noise",
        "Noise around embeddings",
        "Unguided noise of growing size: the further right a line falls, the larger the region that decodes to the "
        "class; solid and dashed agree where only the distance matters. d: decoded draws of the fitted prior (thin "
        "5 to 95 %, thick 25 to 75 %, tick the median): far right are draws that look like a class.",
        ("family", "around", "radius"),
        latent_noise.noise,
    ),
    plate.Plate(
        "noise_pictures",
        "The same as pictures",
        "Embeddings under Gaussian noise (first draw), and decoded draws of the Gaussian fitted to the latents (of "
        "codes: of their frequencies); not chosen, first seed.",
        ("family", "around", "radius", "start"),
        latent_noise.pictures,
        kind="png",
    ),
    plate.Plate(
        "paths",
        "Between two embeddings",
        "How the classifier's probability passes from the start's class to the end's, mean over seeds and couples of "
        "two different classes; grey in the middle is the price of a third class or of doubt on the way; dashed: "
        "the same borders by all other seeds' classifiers. Spherical paths keep the typical length of latents, linear "
        "ones pass nearer to the mean.",
        ("family", "path"),
        latent_paths.probabilities,
    ),
    plate.Plate(
        "path_pictures",
        "Paths as pictures",
        "Couples of test images, from the decoded start to the decoded end in equal steps; first seed.",
        ("family", "path", "end"),
        latent_paths.pictures,
        kind="png",
    ),
)
