"""Train S classifier seeds at once: how good are they, and how different?

    python -m landscape.main --config=configs/train.py                   8 members on digits
    python -m landscape.main --config=configs/train.py:fashion_mnist
    python -m landscape.main --config=configs/train.py --config.sweep.learning_rate='(1e-3,3e-3)'
    python -m landscape.main --config=configs/train.py:digits,smoke      the same code paths in seconds

Times and results: landscape/experiments/train/README.md.

Robust members beside plain ones: --config.sweep.adversarial_epsilon='(0.0,0.0157)', 4/255. Averaged weights:
--config.train.ema=0.999. On accelerators --config.train.precision=bfloat16.

For comparison, accuracies of others, not measured here: Tiny ImageNet, ResNet-18, top-1 on the published validation
split.

    small stem, 50 epochs of SGD 0.2, momentum 0.9, weight decay 1e-4, batch 256, 5 epochs warm-up, cosine    59.6 %
    the same, 200 epochs with weight averaging                                                                66.3 %
    ImageNet stem from scratch, no recipe                                                                     26 %

`:tiny_imagenet` is the first of them, with random crops after padding by 8 pixels, flips, and Nesterov momentum. Unlike
there, only kernels have weight decay.

tiny_imagenet: 450 PFLOP for 8 classifiers: 4 hours at 30 TFLOP/s (one 80 GB GPU), 0.8 at 150 (a v4-8). The 8 together
take 62 GB, 31 with --config.mapping=map4. Estimated from the FLOPs of single steps, within a factor of two or so; not
measured.
"""

from landscape import presets


def get_config(arg="digits"):
    dataset, smoke, _ = presets.parse(arg)
    config = presets.base(dataset, smoke)
    config.experiment = "train"
    config.control_members.untrained = 1 if smoke else 2
    config.calibration = dict(num_bins=15)
    return config
