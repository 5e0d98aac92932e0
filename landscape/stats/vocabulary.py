"""The first part of every estimate's dotted name: the same name always means the same quantity in the same unit."""

VOCABULARY = tuple(
    "acceptance accuracy calibration input_flatness weight_sharpness curvature linearity certified_radius attack "
    "transfer shared barrier path auroc mse psnr ssim fvu rate frechet agreement usage rhat ess distance confidence "
    "gradient purity augmentation throughput".split()
)
