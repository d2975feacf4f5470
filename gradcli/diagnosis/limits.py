"""Every constant of the rules: its value, the reason for it, and where it comes from.

All are relative: to other layers, to the weights, to the first loss or to the step before. None
says whether a norm alone is small or large, because that depends on the scale of the loss and
the size of the model. "Measured" means on the bundled digits, with every shipped model and
optimizer, healthy and broken.
"""

from __future__ import annotations

from gradcli.diagnosis.limit import Limit

DEPTH_FACTOR = Limit(
    1e-3,
    "Between neighbouring layers of a healthy model gradients change by factors of 2 to 3, and "
    "over twenty layers by 50; a layer with a thousandth of another's gradient learns a thousand "
    "times slower.",
    "Glorot and Bengio 2010, section 4; measured: at least 1/60 in healthy models",
)
THROUGH_TIME = Limit(
    1e-3,
    "The model does not learn from time steps at which a thousandth of the gradient arrives.",
    "Pascanu et al. 2013, arXiv 1211.5063, section 2.2",
)
LOSS_OF_GUESSING = Limit(
    5.0,
    "A model that gives all classes equal probability has the loss ln(classes). Five times that "
    "at the start means confident and wrong: signals grow on their way forward, as do gradients.",
    "measured: 1.0 to 2.3 times in healthy models, 7 with saturated units, 1e4 and more with "
    "weights twice too large in twenty layers",
)
REACH = Limit(
    0.5,
    "A recurrent layer that learns from less than half of its time steps does not do its job.",
    "measured: 0.43 with a tanh cell as PyTorch initialises it, 0.68 and more with rectifiers and "
    "an orthogonal matrix",
)
DEAD_UNITS = Limit(
    0.8,
    "In a deep ReLU network the signals of all examples align with depth, so up to half of a "
    "healthy layer's units are zero for all of them; by chance, this happens to more than 26 of 32 "
    "units once in ten thousand times.",
    "Lu et al. 2019, arXiv 1903.06733; measured: at most 0.5 in healthy models",
)
SATURATED_UNITS = Limit(
    0.5,
    "If most activations are on the flat part of their curve, most of the gradient is lost there.",
    "Glorot and Bengio 2010, section 3; measured: at most 0.3 in healthy models",
)
LARGE_UPDATE = Limit(
    0.1,
    "A tenth of the weights per step is a hundred times the usual 1e-3.",
    "Stanford CS231n notes on babysitting the learning process",
)
FIRST_UPDATE = Limit(
    2e-2,
    "In the first steps of a training that goes well, an update changes a layer by a few "
    "hundredths of its norm; later by about a thousandth.",
    "Stanford CS231n notes on babysitting the learning process; measured: 0.01 to 0.05 at first",
)
USUAL_UPDATE = Limit(
    1e-3,
    "An update of a thousandth of the weights is a usual one: then there were too few steps.",
    "Stanford CS231n notes on babysitting the learning process",
)
SETTLED_UPDATE = Limit(
    0.05,
    "Once momentum has built up, the largest update ratio of a layer is a few hundredths in a "
    "training that goes well, under every optimizer.",
    "measured: 0.009 to 0.15 in nine of ten sound trainings",
)
SETTLED_TOO_LARGE = Limit(
    0.2,
    "A fifth of the weights per update, once momentum has built up, is too much to settle.",
    "measured, under Adam and RMSprop: at most 0.11 in sound trainings, 0.27 to 23 if the "
    "rate costs accuracy",
)
SETTLED_TOO_LARGE_SGD = Limit(
    1.0,
    "Under plain gradient descent the gradient falls as training goes on, and updates with it.",
    "measured, under SGD with and without momentum: at most 0.81 in sound trainings, 2 to 8 "
    "if the rate costs accuracy",
)
UPDATES_TOGETHER = Limit(
    1.0,
    "A network multiplies its layers: if the update ratios of all layers add up to 1, one update "
    "replaces what the network computes, however small the share of each layer is.",
    "Bernstein et al. 2020, arXiv 2002.03432; measured: at most 0.91 in 99 of 100 sound trainings "
    "under SGD, 0.26 under Adam and RMSprop",
)
SETTLED_LEFT = Limit(
    0.13,
    "Steps too large to settle, and steps that add up too long, leave more of the loss than a "
    "training with usual ones.",
    "measured: 84 of 86 that cost more than a point of accuracy leave more than this, and 1 "
    "of 10 that do not",
)
HALF_LEARNED = Limit(
    2 / 3,
    "Where updates replaced what a layer was, or a gradient is wrong, most of the loss is left.",
    "measured: at most 0.66 in sound trainings with such an update",
)
RATE_GONE = Limit(
    1e-3,
    "At a thousandth of the largest learning rate, a thousand updates do what one did before.",
    "arithmetic; the shipped schedules spend at most the last fiftieth of the steps below it",
)
SMALL_UPDATE = Limit(
    1e-4,
    "A tenth of the usual update ratio: in a thousand steps a layer still moves by a tenth of its "
    "norm.",
    "Stanford CS231n notes on babysitting the learning process",
)
LOSS_BLOWN_UP = Limit(
    3.0,
    "The loss starts at that of guessing; if it is three times that for several steps, the updates "
    "have caused it.",
    "measured, in the median of five steps: 1.4 in runs that recover, 2.1 with batches of one, "
    "400 and more in those that do not recover",
)
LOSS_KEPT = Limit(
    0.9,
    "A loss above this share of its first value, or of that of guessing, has not fallen.",
    "measured: at most 0.84 after 96 steps in healthy models",
)
DISTANCE = Limit(
    0.08,
    "A layer whose updates add up to less than a tenth of its weights has hardly moved.",
    "measured: at most 0.06 at rates of a three-hundredth of the usual one and less, 0.1 and "
    "more in sound trainings",
)
ALWAYS = Limit(
    0.95,
    "Clipping is for the rare step that is too large; one outlier in twenty is already many.",
    "Pascanu et al. 2013, arXiv 1211.5063, section 3.2",
)
CLIPPED_TO = Limit(
    0.05,
    "A limit a few times below the usual norm only slows the start; at a twentieth it sets the "
    "length of every step, whatever the learning rate is.",
    "measured: at least 0.13 in healthy runs with the limit at 1",
)
SPIKE = Limit(
    10.0,
    "A norm of ten times the median of the 25 steps before.",
    "measured: at most 10 times in healthy runs",
)
BATCH_LOSS = Limit(
    4.0,
    "One batch differs from the next by less than its own loss, unless one of its examples is not "
    "like the others.",
    "measured: at most 3 times with batches of 8 and more",
)
BATCH_NORM = Limit(
    50.0,
    "If the gradient of one batch is fifty times the usual one and nothing announced it, the batch "
    "did it: when the learning rate is too high, losses and norms rise over several steps.",
    "measured: outliers have 207 and more, sound trainings at most 16; of ten spikes that a "
    "rate too high brings without notice, eight have less than 33",
)
BATCH_LOSS_BEFORE = Limit(
    3.0,
    "In a sound training, a norm or a loss of three times the usual one is still chance.",
    "measured: its error rates",
)
PASSED = Limit(
    0.05,
    "An outlier that training has made up for within a twentieth of its steps is a remark.",
    "measured: an outlier that cost ten points of accuracy set a training back by 8% of its steps",
)
DROPOUT = Limit(
    0.8,
    "Of a layer that drops four fifths of its values at random, too little is left to learn from.",
    "Srivastava et al. 2014, JMLR 15, section 7.3: 0.2 to 0.6 work well",
)
SPIKE_HARM = Limit(
    1.5,
    "A spike is a fault if the loss stays half as high again for the next 20 steps; most leave no "
    "trace.",
    "Chowdhery et al. 2022, arXiv 2204.02311, section 5.1",
)
SPIKE_HARM_AT_LEAST = Limit(
    0.05,
    "Late in training a loss may double and still be tiny: the rise must also be a noticeable "
    "share of the first loss.",
    "measured: its error rates",
)
RATE_CHANGE = Limit(
    5.0,
    "From one step to the next, smooth schedules multiply the learning rate by at most 2 (at the "
    "start of a warm-up) and at least 1/4 (at the end of a cosine); more is a jump.",
    "the shipped schedules",
)
SCATTER = Limit(
    0.6,
    "If the losses of consecutive batches differ by more than half of the loss itself, a batch "
    "says little about the whole. The scatter falls with the square root of the batch size.",
    "measured: 0.7 to 1.7 with batches of 1 and 2, at most 0.4 with batches of 128",
)
LEARNED_ANYWAY = Limit(
    1 / 6,
    "With less than a sixth of the loss left in the second half, the training is about as good as "
    "without the fault: a remark, not a warning.",
    "measured: of raw pixels, tiny weights and identical units, 16 of 21 that cost a point at "
    "most leave less than this, and 8 of 98 that cost more",
)
STILL_TO_LEARN = Limit(
    0.25,
    "With a quarter of the first loss left, most examples are learned. A few hard ones make up "
    "most of the rest, and batches differ by whether they contain one.",
    "measured: 0.3 to 0.7 with batches of 1 and 2, 0.2 and less with batches of 8 and more",
)
NOISE_SCALE = Limit(
    10.0,
    "A batch at a tenth of the noise scale holds ten times as much noise as signal.",
    "McCandlish et al. 2018, arXiv 1812.06162, section 2.2",
)
TINY_BATCH = Limit(
    4.0,
    "The gradient of one to four examples is mostly that of these examples.",
    "measured: with batches of 1 and 2 a fifth of the loss or more is left when batches of 64 are "
    "done",
)
OUTPUT_GRADIENT_TINY = Limit(
    1e-4,
    "The gradient of a mean cross-entropy w.r.t. the logits is the difference of two "
    "distributions; it shrinks no further than in proportion to the loss.",
    "softmax(z) - y per example; measured",
)
OUTPUT_GRADIENT = Limit(
    1e4,
    "The gradient of a mean cross-entropy w.r.t. the logits has a norm of at most the root of 2 "
    "per example; a sum over the batch multiplies it by the batch size, which is below this.",
    "softmax(z) - y per example",
)
INPUT_RANGE = Limit(
    20.0,
    "Initialisations assume inputs with a root mean square of 1. Pixels of 0 to 255 have about 80.",
    "LeCun et al. 1998, Efficient BackProp, section 4.3",
)
LARGE_WEIGHTS = Limit(
    4.0,
    "Weights with a standard deviation of 1/sqrt(fan_in) keep a linear signal's size; the shipped "
    "initialisations have 0.58 to 1.41 times that.",
    "LeCun et al. 1998, Efficient BackProp, section 4.6; He et al. 2015, arXiv 1502.01852",
)
HUGE_WEIGHTS = Limit(
    20.0,
    "Weights of twenty times that size hardly change any more: an update of the usual length is a "
    "twentieth of the usual share of them.",
    "measured: a layer of 155 times the size costs 9 points of accuracy with RMSprop",
)
SMALL_WEIGHTS = Limit(
    0.1,
    "A tenth of the size that keeps a signal makes it vanish within a few layers.",
    "LeCun et al. 1998, Efficient BackProp, section 4.6",
)
LARGE_FIRST_LOSS = Limit(
    2.0,
    "Twice the loss of guessing before any update means that the model is confident and wrong.",
    "measured: 1.0 to 1.4 times with the shipped initialisations and scaled inputs",
)
DECAY_PULL = Limit(
    0.5,
    "If the decay pulls about as hard as the gradient pushes when training begins, weights shrink "
    "before they can learn.",
    "measured: its error rates",
)
WEIGHTS_LEFT = Limit(
    0.7,
    "In healthy runs the weights of most layers grow, or shrink by a few hundredths.",
    "measured: its error rates",
)
MOMENTUM = Limit(
    0.97,
    "Momentum m sums up 1/(1-m) steps: 0.9 means 10 and 0.99 means 100, most of a short training.",
    "Sutskever et al. 2013, section 3",
)
EPSILON_SHARE = Limit(
    0.9,
    "If epsilon is most of the denominator, the optimizer no longer rescales the gradient.",
    "Kingma and Ba 2014, arXiv 1412.6980, algorithm 1",
)
UPDATE_JUMP = Limit(
    0.3,
    "One update that changes a layer's weights by a third of their norm replaces what it is.",
    "measured: after the first five steps, in 19 of 2,519 sound trainings",
)
LOSS_THROWN_UP = Limit(
    1.3,
    "A first update that is too large throws the loss up by a third or more, for five steps.",
    "measured: at most 1.26 in 99 of 100 sound trainings whose first update is that large",
)
AT_CHANCE = Limit(
    0.95,
    "A last loss within a twentieth of that of guessing, or above it.",
    "measured: its error rates",
)
WELL_LEARNED = Limit(
    0.6,
    "With two fifths of the loss gone, whatever the gradients look like, the model learns.",
    "measured: deep sigmoids keep 0.8 and more, embeddings and scaled branches 0.5 and less",
)
HAD_LEARNED = Limit(
    0.8,
    "A loss below this share of the reference, for five steps, is below chance.",
    "measured: its error rates",
)
SILENT_STEPS = Limit(
    10.0,
    "A layer may be unused in a few steps; without any gradient for this many, it has died.",
    "measured: its error rates",
)
MOVED = Limit(
    0.2,
    "Updates that add up to a fifth of the weights are enough to learn something from labels that "
    "belong to the inputs.",
    "measured: its error rates",
)
SLOW_START = Limit(
    60.0,
    "In fewer steps a sound model may not have left the loss of guessing yet.",
    "measured: its error rates",
)
BEYOND_CHANCE = Limit(
    3.0,
    "Three standard errors: by chance, a difference is that large once in 370 times.",
    "normal distribution",
)
NOISY = Limit(
    0.25,
    "If consecutive batches differ by more than a quarter of the loss, a flat loss is noise.",
    "measured: its error rates",
)
BLOCKS = Limit(
    3.0,
    "One or two such falls and rises happen when a learning rate is too high.",
    "measured: 4 to 9 if the examples are sorted by class (22 of 23), at most 2 in sound trainings",
)
ONE_CLASS = Limit(
    0.9,
    "No two shuffled batches hold nearly nothing but one class each, and not the same one.",
    "of 16 examples of two equally common classes, 15 or more are of a given one once in 3,800 "
    "times; of ten classes, never",
)
FEWEST_ROWS = Limit(
    16.0,
    "In smaller batches, chance may make most examples of one class.",
    "binomial: 17/2**16 of 16 examples, 9/2**8 of 8",
)
BLOCK_FALL = Limit(
    8.0,
    "While batches are of one class the loss falls at every step but one; in noise, eight steps do "
    "so once in 700 times.",
    "503 of the 9! orders of nine numbers fall seven times or more (Eulerian numbers)",
)
BLOCK_LOW = Limit(
    0.9,
    "Within a block the loss falls below that of guessing: the model learns that class by heart.",
    "measured: its error rates",
)
BLOCK_HEIGHT = Limit(
    0.3,
    "At the next class the loss rises by at least this share of that of guessing.",
    "measured: its error rates",
)
FIRST_UPDATES = Limit(
    5.0,
    "The first updates of RMSprop are ten times as large as those that follow.",
    "its mean of squares begins at zero: 1/sqrt(1 - alpha), with alpha = 0.99",
)
SOON = Limit(
    3.0,
    "What dies within three steps of an outlier was killed by it: momentum carries its update on.",
    "measured: its error rates",
)
HALF_LEFT = Limit(
    0.5,
    "With half of the loss gone, the model learns in spite of this.",
    "measured: its error rates",
)
FIRST_TOO_LARGE = Limit(
    0.5,
    "If already the first update, which no momentum has touched, changes a layer by half, then the "
    "learning rate is to blame.",
    "measured: its error rates",
)
DECAY_OVERSHOOTS = Limit(
    20.0,
    "A decay that pulls so much harder than the gradient turns the weights over and over, "
    "and does not shrink them.",
    "w - lr * decay * w grows if lr * decay > 2; measured: its error rates",
)
USUAL_EPSILON = Limit(
    1e-6,
    "If epsilon is that small and still most of the denominator, the gradient is to blame.",
    "the default of PyTorch's optimizers is 1e-8; larger ones up to 1e-6 are in use",
)
