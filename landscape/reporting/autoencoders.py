"""Figures of `autoencoders`: which family and which bottleneck describe images, or a hidden layer, best?"""

from landscape.reporting import (
    autoencoder_depth,
    autoencoder_pictures,
    autoencoder_rates,
    autoencoder_training,
    autoencoder_use,
    plate,
)

PLATES = (
    plate.Plate(
        "depth",
        "How much fits through a bottleneck",
        "a: test error as a share of the variance within classes, so 1 (dashed) is what the class mean alone "
        "gives; lower keeps more of what tells images of one class apart. b: how much the classifier's output "
        "changes when the reconstruction takes the layer's place. Colours are dimensions, bands the range over seeds, "
        "dotted lines PCA of the same dimension. (With images alone, x is the dimension, colours are families, and "
        "dashed lines those with codes.)",
        ("mse", "kl", "from_class_mean"),
        autoencoder_depth.depth,
        narrow=autoencoder_depth.depth_narrow,
        table=autoencoder_depth.depth_table,
    ),
    plate.Plate(
        "rates",
        "Error against bits, and against dimensions",
        "Lower and further left is better. a: latents rounded ever more coarsely (a curve a size: ae, PCA and their "
        "kin), the divergence from the prior (vae, with the error of a posterior draw), the length of the codes with a "
        "bar to the most they can hold (vq, fsq). b: the same error without a limit on bits; sparse keeps k "
        "of 4 k numbers and stands at k; small dots are seeds.",
        ("mse",),
        autoencoder_rates.rates,
    ),
    plate.Plate(
        "reconstructions",
        "What comes back",
        "Test images above, and what each family makes of them at the dimension where families are compared (vq and "
        "fsq: number of codes); first seed. Right: mean squared error over all test images and seeds.",
        ("picture", "picture_cell"),
        autoencoder_pictures.reconstructions,
        kind="png",
    ),
    plate.Plate(
        "samples",
        "Draws from the prior",
        "Images decoded from random latents, for the families whose prior is known; not chosen, first seed.",
        ("picture_samples",),
        autoencoder_pictures.samples,
        kind="png",
        optional=True,
    ),
    plate.Plate(
        "use",
        "Climbing to another class on each manifold",
        "Dots are seeds, ticks their means. a: confidence in the class that was climbed, of the classifier that guided "
        "(hollow) and of one that did not (filled); a long grey line is an ascent that only fools its guide. b: error "
        "of the result under the autoencoders of another seed, mean of all families (dashed: on test images "
        "themselves). c, d: how far it went, "
        "and how far it is from the nearest training image; pixels had a ball as wide as the first row's median "
        "distance.",
        ("held_out_confidence",),
        autoencoder_use.use,
    ),
    plate.Plate(
        "use_along",
        "The climb, step by step",
        "Confidence of a classifier that did not guide, against the distance from the image that the climb began at; a "
        "line begins at the decoded start, as far away as the reconstruction errs. Among manifolds, higher at equal "
        "distance is better; pixels climb soonest, by what no autoencoder gives back (b above). "
        "Means over images and seeds.",
        ("held_out_along", "moved_along"),
        autoencoder_use.along,
    ),
    plate.Plate(
        "use_pictures",
        "The climbed images",
        "Above each column the class that was climbed; a blue frame where a classifier that did not guide sees that "
        "class, orange where it does not. First seed.",
        ("picture_start", "picture_use"),
        autoencoder_pictures.use_pictures,
        kind="png",
    ),
    plate.Plate(
        "frechet",
        "Distance of distributions",
        "Fréchet distance to training images in the features of each seed's classifier, extrapolated to infinitely "
        "many images (so it may fall below 0); dots are seeds. Dashed is the distance of test images as they are: "
        "what lies there is as near to training images as other real images. Reconstructions are of test images.",
        ("frechet_reconstruction",),
        autoencoder_use.frechet,
    ),
    plate.Plate(
        "neighbours",
        "Which training image is nearest in a hidden layer?",
        "Below each test image the training image nearest to it in the layer, then the one nearest to its "
        "reconstruction; framed blue where the bottleneck did not change the neighbour. First seed.",
        ("picture", "picture_neighbour", "picture_neighbour_cell"),
        autoencoder_pictures.neighbours,
        kind="png",
        optional=True,
    ),
    plate.Plate(
        "training",
        "How training went",
        "Error on validation images (thin lines, one a seed) and the mean training loss (dotted; on the right where "
        "its unit is another), colours as in the first figure: lines should be level at the end, and not rise.",
        ("train_loss", "validation_mse"),
        autoencoder_training.training,
    ),
)
