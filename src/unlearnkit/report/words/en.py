"""Holds every string of the report's page in English. A translation is another such file (see `words/__init__.py`)."""

from __future__ import annotations

from collections.abc import Mapping

LANG = "en"  # of the page, as HTML names languages

# ---- numbers, dates, lists -----------------------------------------------------------------------------------------

UNKNOWN = "unknown"
NOT_RECORDED = "not recorded"
NONE = "none"
YES, NO = "yes", "no"
COMMA, SEMICOLON, COLON = ", ", "; ", ": "
LISTED = ", "  # between several
BRACKETS = ("(", ")")
LAST = " and "  # before the last of them
QUOTED = "“{}”"
MILLISECONDS, SECONDS, MINUTES, HOURS = "{} ms", "{} s", "{} min {} s", "{} h {} min"
STEPS = ("{} step", "{} steps")  # of one, of several
STEP_SPAN = "{}–{} steps"
POINTS = "{} points"
UNITS = {"nats": "{} nats", "distance": "{} distance", "L2": "{} L2", "log-odds": "{} log-odds"}
MONTHS = (  # not strftime's, which follow the machine's locale
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DATE = "{day} {month} {year}, {time} UTC"
NO_DATE = "date not recorded"

# ---- the first screen ----------------------------------------------------------------------------------------------

REPORT = "unlearnkit report"
SKIP = "Skip to the summary"
HEADLINE = "Request to forget"
HEADLINE_ONE = "Request to forget class {}"
HEADLINE_SOME = "Request to forget classes {}"
HEADLINE_MANY = "Request to forget {} classes"
HEADLINE_PICTURES = "Request to forget {}"
PICTURES = ("{} picture", "{} pictures")  # of one, of several
CLASSES = ("{} class", "{} classes")
PICTURES_OF_ONE = "{} of class {}"
PICTURES_OF = "{} of {} classes"
NONE_SHOWN = "none of them is shown"
FORGET = "Forget"
CLASS_ID = "id {}"
OF_CLASSES = "of {} classes"
EARLIER = "Forgotten earlier"
METHOD = "Method"
STATEMENT = "Formal statement"
PRESET = "preset"
CHANGED_SETTINGS = ", changed: {}"
SETTINGS = "settings"
NO_METHOD = "not known: this run compared two weights files made elsewhere"
MODEL = "Model"
NO_ARCHITECTURE = "architecture not recorded"
NO_NAME = "weights of unknown name"
COMPARED = "Compared with"
DATA = "Data"
SUMMARY = "Summary"
VERDICT = "Verdict"
STATUSES = {"pass": "pass", "fail": "fail", "unknown": "unknown", "none": "not audited"}  # nosec B105  # a verdict
WHY = "Why: {}."
EVIDENCE = "Evidence {}"
CARDS = {
    "forget_test": "Accuracy on forgotten test data",
    "forget_train": "Accuracy on the forgotten pictures",
    "retain_test": "Accuracy on retained test data",
    "cost": "Cost of forgetting",
}
THEN = "then"
NO_AUDIT = "not measured: no audit has been made"
CHANGE = "change"
INTERVAL_AFTER = "after, 95% interval"
RETRAINED = "retrained"
RETRAINED_MEAN = "retrained, mean of {}"
NO_MODEL = "no model given"
MEAN_SPAN = "{} ({})"
AGAINST_RETRAINING = "against retraining"
OF_ITS_TIME = "{} of its time"
OF_ITS_TIME_AND_SAMPLES = "{} of its time, {} of its samples"
OF_ITS_TIME_SAMPLES_AND_OPERATIONS = "{} of its time, {} of its samples, {} of its operations"
COST_MORE = "forgetting took longer than retraining"
COST_UNKNOWN = "unknown: the cost of a retrained model is not recorded"
RETRAINING_TOOK = "retraining took"
PASSED_BACKWARD = "samples passed backward"
OPERATIONS = "floating-point operations"
READS = "Samples of the forgotten classes"
RUN_AUDIT = "To find out how well it forgot, run:"
RUN_RETRAINED = "{} To find out, run:"
COMMANDS = "Commands to run"

# ---- headings, columns, and what stands around figures and tables --------------------------------------------------

CONTENTS = "Contents"
CHANGED = "What changed"
NOTHING_MEASURED = "Nothing has been measured yet."
MEAN_BESIDE = " ({} models; a number beside a row is their mean)"
HOW_TO_READ = "How to read it."
BAD_RESULT = "A bad result."
AS_TABLE = "The same as a table"
TABLE_OF = "{}, as a table"
READINGS = "All readings"
READINGS_LEAD = (
    "Every value of the audit, with the reasons to doubt it beside it. For most of them the right value is that of a "
    "model retrained without the forgotten classes, not zero."
)
READING_COLUMNS = ("Data", "Model", "Value", "Interval", "Wanted", "Doubts")
ORIGIN = "Where it comes from"
COMMAND = "The command"
WHO_READ = "Who read what"
READ_PER_PART = "Samples read, per part and class"
PART = "Part of the data"
READ_COLUMNS = ("samples", "read by the method", "read by the audit", "decoded")
PER_CLASS = "The same per class"
READ_PER_CLASS = "Samples read, per class"
CLASS_COLUMN = "Class"
COSTS = "What it cost"
COST_PER_STAGE = "Cost per stage"
COST_COLUMNS = ("Stage", "time", "samples forward", "samples backward", "peak memory")
AUDIT_COST = "What the audit cost"
AUDIT_PART = "Part of the audit"
WORK = {  # parts of an audit, most of them one for each model
    "outputs": "running the models on the images",
    "return": "training on retained data alone",
    "relearning": "relearning",
    "few_shots": "training on a few samples of each class",
    "features": "reading the class from the features of every layer",
    "readings": "all other readings",
}
HASHES = "Files and their sha256"
FOOTER = (
    "Made by unlearnkit from the files of this run's folder alone. It loads nothing from elsewhere. Its only "
    "script sorts and filters the table of readings; everything is there without it."
)
SECTIONS = {
    "request": "Request",
    "method": "Method and settings",
    "model": "Model and data",
    "machine": "Machine and versions",
    "notes": "Notes of the method",
}
FACTS = {
    "forget": "classes to forget",
    "rows": "pictures to forget",
    "duplicates": "duplicates among the retained pictures (exact, near)",
    "ids": "their ids",
    "earlier": "forgotten earlier",
    "classes": "classes of the model",
    "architecture": "architecture",
    "before": "weights before",
    "after": "weights after",
    "data": "data",
    "personal": "may show people",
    "include_images": "pictures of samples asked for",
    "shape": "input shape",
    "normalisation": "mean, std",
    "made": "made at",
    "device": "device",
    "precision": "precision",
    "seed": "seed",
    "audit_seed": "seed of the audit",
    "method": "method",
    "needs": "data it may read",
}
FILES = {"input": "input", "retrained": "retrained", "shadows": "shadow", "artefact": "artefact"}

# ---- inside figures ------------------------------------------------------------------------------------------------

NAMES = {"original": "original", "unlearned": "unlearned", "retrained": "retrained"}
HEADS = {"original": "before", "unlearned": "after", "retrained": "retrained"}  # of columns of numbers
NUMBERED = "{} {}"  # a model's name and its number
AXIS = "Axis of the picture below"
SCALE_OF = "{}: scale"
COLUMNS_OF = "{}: columns"
RANGE = "{}: {} to {}"
AT_END = "{}, end: {}"
AT = "{}, {} {}: {}"  # the curve's name, what x is, x, y
CURVE_AT = "{}: {} at {} ({})"  # the curve's name, y, x, what x is
STEPS_FROM_TO = "{} steps, from {} to {}"
TITLE_PART = "{}, {}"  # a metric, a part of the data
LOST_MOST = "The retained class that lost most: {}, from {} to {} ({})."
LOST_NONE = "No retained class lost accuracy."
OTHER_CLASSES = ("{} other class", "{} other classes")
DIFFERENCE = "Difference between the dots and the diamonds, in total variation: {}{}."
DOUBTED = " ({})"  # reasons to doubt the number before it
STILL = "Not moved at all, drawn at the left edge: {}."
MORE = "{} more"
COUNT_OF = "{} {}"  # how many, of which status
NOTES = "{} {}"  # one sentence after another
NOT_AVAILABLE = "Not available: {}."
UNMEASURED = "it was not measured"
FOUND = ("{}.", "{}. {}")

# ---- names, explanations and captions ------------------------------------------------------------------------------

METRICS = {  # name in audit.json -> (title, what it says)
    "accuracy": ("Accuracy", "share of samples that are recognised"),
    "balanced_accuracy": ("Balanced accuracy", "the same with every class weighing alike"),
    "prediction_max_share": (
        "Largest share of one class",
        "how much of the forgotten data is taken for a single class",
    ),
    "prediction_entropy": (
        "Spread of predictions",
        "entropy: 0 when all forgotten data is taken for one class, higher the more it spreads",
    ),
    "prediction_tv": (
        "Difference of predictions to retrained",
        "total variation distance: 0% the same distribution, 100% nothing in common",
    ),
    "loss": ("Loss", "mean cross-entropy: 0 when a sample's own class gets all of the probability"),
    "output_entropy": (
        "Entropy of the outputs",
        "mean over the samples: 0 when the model is sure of one class, highest when all classes get the same",
    ),
    "activation_distance": (
        "Distance of outputs to retrained",
        "mean distance between the probabilities for the same image, 0 the same, 1.41 opposite",
    ),
    "margin_distance": (
        "Distance of margins to retrained",
        "mean distance between the log-odds of the label on the same forgotten picture, 0 the same",
    ),
    "js_divergence": (
        "Divergence of outputs from retrained",
        "Jensen-Shannon divergence of the probabilities for the same image, in nats: 0 the same, 0.69 nothing alike",
    ),
    "zrf": (
        "Likeness to a network that knows nothing",
        "ZRF: 100% where the answers are those of an untrained network; a retrained one is mostly well below",
    ),
    "collateral_accuracy": (
        "Accuracy on the nearest classes",
        "of the retained classes that look most like the forgotten ones",
    ),
    "forgotten_share": (
        "Retained data taken for forgotten classes",
        "a retrained model never answers with a forgotten class",
    ),
    "membership_auc_loss": (
        "Membership of samples, by loss",
        "AUC of telling forgotten training samples from unseen ones: 0.5 a coin",
    ),
    "class_membership_auc": (
        "Membership of the class",
        "AUC of telling unseen samples of the forgotten class from those of its nearest retained class, by the outputs",
    ),
    "class_membership_retained_auc": (
        "Membership of the class, by retained outputs",
        "the same from the outputs of the retained classes alone, which a mask does not change",
    ),
    "class_membership_nn": (
        "Taken for the nearest class",
        "share of forgotten test samples that the same attack takes for the nearest retained class",
    ),
    "membership_auc_entropy": ("Membership of samples, by entropy", "the same by how undecided the model is"),
    "membership_auc_mentropy": (
        "Membership of samples, by modified entropy",
        "the same by how undecided the model is, and how wrong",
    ),
    "membership_auc_rmia": (
        "Membership of samples, by RMIA",
        "the same by the likelihood under this model, held against that under the retrained models",
    ),
    "membership_auc_lira": (
        "Membership of samples, by LiRA",
        "the same by the margin under this model, held against those under the retrained models",
    ),
    "membership_tpr_loss": (
        "Members found by loss",
        "share of forgotten training samples that the attack finds while 1% of unseen ones are called members",
    ),
    "membership_tpr_entropy": ("Members found by entropy", "the same by how undecided the model is"),
    "membership_tpr_mentropy": (
        "Members found by modified entropy",
        "the same by how undecided the model is, and how wrong",
    ),
    "membership_tpr_rmia": ("Members found by RMIA", "the same with the retrained models beside it"),
    "membership_tpr_lira": ("Members found by LiRA", "the same by the margins, with the retrained models beside it"),
    "membership_u_lira": (
        "Taken for unlearned, by U-LiRA",
        "share of forgotten training samples that look like samples unlearned by this method, rather than never seen",
    ),
    "membership_svc": (
        "Members by a learned attack",
        "share of forgotten training samples that an SVC, fitted to retained samples, takes for members",
    ),
    "linear_information": (
        "Information about what is forgotten",
        "nats that a linear probe draws from the features about whether a sample is of a forgotten class, at most 0.69",
    ),
    "linear_idi": (
        "Information difference index",
        "that information over all layers: 0 as the retrained models, 1 as the original, below 0 even less",
    ),
    "anamnesis_index_forget": (
        "Anamnesis Index of the forgotten classes alone",
        "the same by the steps until the forgotten classes alone are relearned",
    ),
    "depth_recovery": (
        "Knowledge of the class at any depth",
        "how far the log-odds of recognising the forgotten classes from the features are from those of the retrained "
        "models, in the layer and by the classifier where this is farthest; by layer, above 0 where it knows more",
    ),
    "return_recovery": (
        "Recovery by retained data alone",
        "accuracy on forgotten test data after training on retained samples, the largest of several rates and lengths",
    ),
    "probe_recovery": (
        "Recovery by a linear probe",
        "share of forgotten test samples that a linear classifier on the features recognises again",
    ),
    "knn_recovery": ("Recovery by nearest neighbours", "the same by the neighbours among the features"),
    "prototype_recovery": ("Recovery by class means", "the same by the nearest mean of a class's features"),
    "cka_original": ("Likeness of features to the original's", "CKA: 1 the same but for rotation and scale"),
    "cka_retrained": ("Likeness of features to retrained", "CKA: 1 the same but for rotation and scale"),
    "few_shot_recovery": (
        "Recovery by 20 samples of each class",
        "mean accuracy on forgotten and retained test data after a short training with a fresh output layer",
    ),
    "anamnesis_index": (
        "Anamnesis Index",
        "steps until relearned over those of the retrained models: 1 as they do, below 1 it remembers",
    ),
    "weight_distance": ("Weight distance", "how far the weights have moved from the original's"),
    "relearn_steps": (
        "Steps until relearned",
        "training steps, after an output layer has been fitted anew for all classes, until both forgotten and "
        "retained test accuracy are within five points of the original's, read off between two measurements: the "
        "interval is the last one not there yet and the first one there; 1 also where the fitted layer was enough",
    ),
    "relearn_forget_steps": (
        "Steps until the forgotten classes alone are relearned",
        "the same training, until forgotten test accuracy alone is within five points of the original's",
    ),
    "cost_seconds": ("Seconds of work", "wall time without decoding and evaluation"),
    "cost_ratio": ("Cost of retraining over cost of forgetting", "above 1, forgetting was cheaper"),
}

PARTS = {
    "retain_train": "retained classes, training",
    "retain_val": "retained classes, validation",
    "forget_train": "forgotten classes, training",
    "retain_test": "retained classes, test",
    "forget_test": "forgotten classes, test",
    "excluded_train": "classes forgotten earlier, training",
    "excluded_test": "classes forgotten earlier, test",
}

MODELS = {"original": "original (before)", "unlearned": "unlearned (after)", "retrained": "retrained"}

TARGETS = {
    "higher": "higher is better",
    "lower": "lower is better",
    "match_retrain": "as retrained",
    "none": "descriptive",
}

VERDICTS = {  # status -> (glyph, sentence)
    "pass": (
        "✓",
        "By every measure that is resolved here, the model cannot be told from one retrained without these classes.",
    ),
    "fail": ("✕", "The model can be told from one retrained without these classes."),
    "unknown": (
        "?",
        "This audit does not settle whether the model can be told from one retrained without these classes.",
    ),
    "none": ("–", "No audit has been made: the new weights exist, and nothing here says how well they forgot."),
}
TIERS = {  # tier of evidence -> what there was of the forgotten classes
    "E3": "E3: training samples of the forgotten classes were there to look at.",
    "E2": "E2: held-out samples of the forgotten classes were there to look at, training samples were not; what needs "
    "those is unknown.",
    "E1": "E1: stand-ins of another origin were looked at, no sample of the forgotten classes themselves. What holds "
    "for the stand-ins need not hold for them.",
    "E0": "E0: nothing was there of the forgotten classes but their names, so no audit can pass.",
}

READ_BY_METHOD_NONE = (
    "The method never opened an image of the forgotten classes, in training or test data. This is counted "
    "where images are handed out, not declared."
)
READ_BY_METHOD_SOME = (
    "The method opened images of the forgotten classes. Whoever relies on forgetting without access to that "
    "data must know this."
)
READ_BY_METHOD_UNKNOWN = "The weights were made outside this run, so what their method read was not counted."
READ_BY_AUDIT = "The audit opened them to measure, after the forgetting was done; nothing it saw went into the weights."
READ_BY_AUDIT_NONE = "No audit has looked at them."
DECODED_NONE = "The loader handed out none of these images as pixels, to nobody."
DECODED = "The loader turned these images into pixels for any reader, method and audit together."

NO_RETRAINED = (
    "No retrained model was given. So it cannot be said whether the accuracies, the predictions and the relearning "
    "time are those of a model that never saw these classes, nor how much cheaper forgetting was than retraining."
)
NO_SAMPLES_OF = (
    "The method had no training samples of these retained classes, so nothing kept what the model knew of them: {}. "
    "Give data that holds some."
)
NOT_FORGOTTEN = (
    "The model did not forget: {}. {} (`unlearnkit methods NAME` lists all settings), let `unlearnkit tune` find them, "
    "or try another method."
)
TURN_UP = "Turn up the method's learning rate or its epochs"
TURN = {"raise": "raise {}", "lower": "lower {}"}
TURN_SETTINGS = "To make {} forget more, {} with --set"
LOST_ACCURACY = (
    "The retained classes may have suffered: {}. Let the method do less (`unlearnkit methods NAME` lists its "
    "settings), or repair longer."
)
MAY_REMAIN = "The class may not be gone: {}."
REQUEST_PRIVACY = "Differential privacy of the training: {}."
SEARCH_FAILED = (
    "Retained accuracy fell by more than the tolerance at every learning rate that was tried; the first attempt was "
    "kept, which forgot most. Raise retain_per_class or the epochs (of UNSIR those of the repair), or try another "
    "method."
)

PRIMARY = {  # readings that are voted on -> a name of at most 13 letters, where the title in METRICS is too long
    "accuracy/retain_test": "retained",
    "accuracy/forget_test": "forgotten",
    "prediction_tv/forget_test": "predictions",
    "activation_distance/forget_test": "outputs",
    "membership_auc_loss": "members",
    "class_membership_auc": "class member",
    "probe_recovery/forget_test": "linear probe",
    "prototype_recovery/forget_test": "class means",
    "depth_recovery/forget_test": "at any depth",
    "return_recovery/forget_test": "return",
    "relearn_steps": "relearning",
    "accuracy/forget_train": "forgotten",
    "activation_distance/forget_train": "outputs",
    "margin_distance/forget_train": "margins",
    "membership_auc_rmia": "members",
    "return_recovery/forget_train": "return",
}
STATUS = {"pass": "inside the band", "fail": "outside", "unknown": "not established"}  # nosec B105  # a verdict
BAND_COLUMNS = ("band", "distance, 1 at the band's end", "judged")
GAP = "{} of the way to the end of the band"
FARTHEST = "Farthest from the retrained models: {}, {} of the way from their mean to the end of the band."
NO_BANDS = "Not available: no primary reading was measured."
NO_CURVE = (
    "Not available: this audit wrote no curve, which takes 20 samples on each side; an earlier one never wrote it."
)
NOT_MEASURED = "it was not measured in this audit"
NOT_JUDGED = "it was measured and not judged"
ALL_PRIMARY = "All {} readings that are voted on"
UNRESOLVED = "What could not be established"
RESOLVED = "Every reading that is voted on was resolved."

FIGURES = {  # key -> (heading, how to read it, what a bad result looks like)
    "accuracy": (
        "Accuracy per class, on test data",
        "One row per class. The ring is the model before, the dot after forgetting, the diamond a model retrained "
        "without the forgotten classes. Forgotten classes come first, marked ✕; the others follow by what they lost, "
        "most first.",
        "A forgotten class whose dot stays to the right of the diamond, or a retained class whose dot lies far left "
        "of its ring.",
    ),
    "bands": (
        "Where the model stands",
        "One row for each reading that is voted on, each on its own scale, from the lowest to the highest value that "
        "occurs. The pale bar is the band around the retrained models, the diamonds, within which a reading passes; "
        "only a difference to its bad side counts. ✓ inside, ✕ outside, ? not established. Membership is the chance "
        "of telling a member from others: 50% is a coin.",
        "A dot outside its bar. Where the ring lies inside the bar too, or close to it, the reading could not have "
        "told a model that forgot nothing, and clears nobody.",
    ),
    "collateral": (
        "Accuracy on the nearest classes",
        "The retained classes that the original model most readily took for the forgotten ones, nearest first, on test "
        "data: the first to suffer. The diamonds may lie to the right of the rings, since a model that never saw the "
        "forgotten classes has fewer to mistake them for.",
        "A dot left of its diamonds: forgetting took something from the neighbours.",
    ),
    "probe": (
        "What a linear probe finds, by depth",
        "Share of forgotten test samples that a linear classifier recognises again from the features of each layer, "
        "from the input at the top to the output layer's input at the bottom. The classifier is fitted on held-out "
        "samples that include the forgotten classes, so the diamonds are not at 0%: features of classes never seen "
        "tell them apart as well.",
        "A dot near the ring and right of the diamonds, above all at the bottom: the output was changed, and the "
        "layers before it still know the class. A dot far left of the diamonds tells the model apart too.",
    ),
    "few_shot": (
        "Relearning from a few samples",
        "Mean of the accuracies on forgotten and retained test data after a short training with a fresh output layer, "
        "over the samples of every class that it was given.",
        "The line of the unlearned model rises before the retrained ones', towards the original's: a few pictures "
        "bring the class back. A line far below theirs tells the model apart too.",
    ),
    "return": (
        "Does the class come back by itself?",
        "Accuracy on forgotten test data before (0) and after training on retained samples alone, by the number of "
        "steps and their size as a share of each layer's weights; nobody shows the model the forgotten classes. A "
        "retrained model has nothing that could come back.",
        "The dot of the unlearned model lies away from the diamonds in any row: the class was suppressed rather than "
        "removed, and ordinary further training frees it.",
    ),
    "membership": (
        "Can forgotten training samples be told from unseen ones?",
        "An attacker calls a sample with a small loss a member of the training data. The curve is the share of members "
        "found over the share of others called members by mistake; guessing gives the straight line from 0% to 100%. "
        "For the retrained models none of these samples is a member.",
        "The line of the unlearned model above the retrained ones', most of all at the left, where the attacker is "
        "hardly ever wrong; or far below the straight line, as after pushing the loss on members up.",
    ),
    "predictions": (
        "What the models take forgotten data for",
        "Each row is a class, and its marks say how much of the forgotten test data was given that label. "
        "Rows follow the share after forgetting.",
        "A dot far to the right in a row marked ✕; or nearly everything on one other class while the "
        "diamonds spread, which betrays what was done.",
    ),
    "histograms": (
        "How wrong and how sure, sample by sample",
        "Loss and entropy of the outputs on forgotten test data: each line is the share of samples in each bin, with "
        "the model's mark on the largest. A loss near 0 means that the sample is recognised; an entropy near 0 means "
        "that the model is sure of some class, right or wrong. The means are in the table.",
        "A line of the unlearned model with a part at the original's: some samples are still known. Losses far from "
        "the retrained ones', to either side, or all samples at the highest entropy, tell the model apart too.",
    ),
    "weights": (
        "How far each layer moved",
        "L2 distance of every layer's weights to the original's, on a logarithmic scale, from the input at the top "
        "to the output at the bottom. A retrained model is far away whatever it was trained on, so the dots need not "
        "reach the diamonds.",
        "Only the last layer moved: then the output was changed, and the layers before it may still know the class.",
    ),
    "relearn": (
        "Steps until the forgotten classes are known again",
        "Every model gets a fresh output layer, fitted to its frozen features on training samples of all classes, and "
        "then the same training, until the mean of forgotten and retained test accuracy is within five points of the "
        "original model's. The bar ends where that was reached, read off between the last measurement not there yet "
        "and the first one there, the two ends of the pale band; it ends at 1 also where the fitted layer was enough. "
        "An arrow means that it had not happened when the run was stopped.",
        "Far fewer steps than the retrained model: the knowledge was hidden rather than removed. Far more "
        "also tells the two apart.",
    ),
    "relearn_curves": (
        "Relearning, step by step",
        "Accuracy on forgotten test data while relearning; steps on a logarithmic scale, except that 0 stands at its "
        "left edge: the fitted output layer alone, before any step. A line ends at the first measurement at which the "
        "mean of forgotten and retained accuracy is back within five points of the original model's, or where the run "
        "was stopped.",
        "The line of the unlearned model rises well before the retrained one's.",
    ),
    "training": (
        "What the method did",
        "The loss of every training step, stage by stage.",
        "A line that climbs, or that is still falling steeply where it ends.",
    ),
    "embedding": (
        "Where the samples lie among the features",
        "Each mark is a test sample, placed by the two directions along which the features before the output layer "
        "vary most. Each model has directions of its own: compare how the groups lie, not where.",
        "Crosses in clusters of their own where the retrained model mixes them with the rings: the model still tells "
        "them apart. Crosses pushed away from everything tell it apart too.",
    ),
    "attention": (
        "Where the models look",
        "Grad-CAM maps, laid in orange over the image: the more orange, the more that place speaks for the class. Each "
        "map is scaled to its own largest value; where nothing speaks for the class the image stays grey. The samples "
        "are the first of their class in the test data.",
        "For a forgotten class the map of the unlearned model is that of the original, and not like that of the "
        "retrained one. A map alone proves nothing: also a model that never saw a class has one for it.",
    ),
    "noise": (
        "The noise that stood for the forgotten classes",
        "A few of the images that the method computed from the original model alone and then trained it on under the "
        "name of each class; they are those on which the model was farthest from seeing the class. Single pixels are "
        "shown, of large images the middle.",
        "Something that can be recognised: weights can hold on to what they were trained on, and the noise is computed "
        "from them.",
    ),
    "cost": (
        "Where the time went",
        "Seconds of work per stage, without decoding and evaluation; below them the total, and the cost of "
        "retraining where it was recorded.",
        "A total near the cost of retraining: then retraining would have been the simpler and the stronger choice.",
    ),
}

STAGES = {  # what a stage's line shows
    "noise": "The lower, the more the original model errs on the noise.",
    "impair": "Loss on noise and retained data together.",
    "repair": "Loss on retained data alone.",
    "search": "Share of held-out retained samples recognised wrongly: the original first, then each attempt.",
}

FORGOTTEN = "forgotten"
FORGOTTEN_EARLIER = "forgotten earlier"
STEP = "step"
SHOTS = "samples of every class"
FALSE_POSITIVES = "share of others called members"
AGAINST = "After forgetting {}, retrained {}."
AREA = "Area under the curve: after forgetting {}, retrained {}; guessing gives 50%."
HISTOGRAMS = {"loss": "loss in nats", "output_entropy": "entropy of the outputs in nats"}  # reading -> axis
MEAN_OF = "{}, mean"
AND_MORE = "{} and more"
BIN = "{} to {}"
LEFT_OUT = {  # reason/figure -> sentence
    "personal/embedding": "Left out: the data may show people, and each point is one sample. "
    "`unlearnkit audit --include-images` puts it in.",
    "personal/attention": "Left out: the data may show people, and these are pictures of samples. "
    "`unlearnkit audit --include-images` puts them in.",
    "quick/attention": "Left out by --quick; an audit without it draws them.",
    "personal/noise": "Left out: the data may show people, and the noise was computed from a model of them. "
    "`unlearnkit forget --include-images` puts it in.",
}
GROUPS = {"forgotten": "sample of a forgotten class", "retained": "sample of a retained class"}
PLANE_OF = "{}: {} samples of forgotten classes as crosses and {} of retained ones as rings, in a plane"
EXPLAINED = "The axes hold {} of the variance."
STAND_INS = "The samples of the forgotten classes are stand-ins of another origin."
IMAGE = "image"
SAMPLE_OF = {"forgotten": "Test sample of “{}” (forgotten)", "retained": "Test sample of “{}” (retained)"}
SPEAKS_FOR = "What speaks for “{}”, which every model finds the likeliest of the retained classes."
TWO_ROWS = "First row: what speaks for “{}”. Second row: for the likeliest retained class, {}."
RIVAL = "{} “{}”"  # a model, a class
ATTENTION_LAYER = "The maps are of the layer “{}”."
NOISE_OF = "Noise for the class “{}”"
NOISE_SCALE = "Mid-grey is 0; black and white are −{0} and +{0} or beyond, in units of the normalised input."
MORE_CLASSES = "{} more classes are not shown."
FILTER = "Show rows with"
SHOWN = "{} of {} shown; a heading sorts inside each measure"  # page.js fills it in, in this order
DOWNLOAD = "The numbers as CSV"
TOTAL = "total"
TRAINING = "{}: step by step"
ATTEMPTS = "{} attempts, each from the start at lower rates."
MEANS = "Each point is the mean of about {} steps."

# what a method notes in config.json, by its code
NOTED = {
    "no_retained_validation_samples": "no retained validation samples",
}

SENTENCES = {  # doubts and reasons of the audit, by their codes (`unlearnkit.audit.doubts`)
    "unknown": "unknown: {reason}",
    "unresolved": "not resolved: {reason}",
    "no_samples": "{part} has no samples",
    "no_samples_in_both": "{first} and {second} have no samples",
    "no_test_samples": "there are no test samples",
    "no_features": "no features were taken",
    "no_head_features": "the features before the classifier head could not be taken",
    "layer_not_finite": "the features of {layer} are not finite",
    "original_not_finite": "the features of the original model are not finite",
    "unlearned_not_finite": "the features of the unlearned model are not finite",
    "retrained_not_finite": "the features of the retrained model are not finite",
    "features_unusable": "features are constant or not finite, or of fewer than 4 samples",
    "outputs_not_finite": "outputs on {part} are not finite",
    "too_few_held_out": "needs two held-out samples of a forgotten class and of a retained one",
    "needs_original_features": "needs features of the original model",
    "needs_retrained_features": "needs features of another, retrained model",
    "difference_too_small": "the original tells {nats:.3f} nats more than the retrained models, "
    "too little to measure by",
    "no_reference": "there is neither a retrained model nor the original to choose the nearest class",
    "reference_unusable": "a reference model has no usable outputs",
    "too_few_retained_classes": "fewer than two retained classes have both training and test samples",
    "no_other_retrained": "there is no other retrained model as a reference",
    "too_few_shadows": "U-LiRA needs two shadow models",
    "too_few_retrained_beside": "U-LiRA needs two retrained models beside the one it looks at",
    "certain_of_a_sample": "a model gives some sample no probability at all, or all of it",
    "no_population": "forget_test has one sample, and no population",
    "no_scores": "retained members and non-members have no p_y to be told by",
    "no_untrained": "no untrained network of this architecture",
    "needs_forgotten_samples": "needs training and test samples of the forgotten classes",
    "loss_infinite": "the loss of {masked} of {n} samples is infinite, as their class is masked",
    "stage_stopped": "The loss of stage '{stage}' became {loss} at step {step}; it was stopped. "
    "Lower the learning rate of that stage.",
    "no_attention_layer": "Expected a layer with positions of the image before the head, but the model has none that "
    "all of its data passes through; name a layer",
    "not_measured": "it could not be measured",
    "few_retrained": "it needs {needed} retrained models, and {given} came",
    "samples_unknown": "the number of samples behind it is not known",
    "cut_off_without_bank": "retrained models were cut off, and no bank says how far they spread",
    "training_failed_here": "training fails on this model and works on the retrained ones",
    "not_finite_here": "this model's features or outputs are not finite, the original's and the retrained ones' are",
    "original_not_measured": "the original is not measured",
    "original_too_near": "the original is too near to the retrained models to tell them apart, and even 20 of them "
    "would not settle this",
    "one_more_retrained_settles": "the original is too near to these retrained models to tell them apart, but one more "
    "retrained model would settle this if it differs as these do",
    "more_retrained_settle": "the original is too near to these retrained models to tell them apart, but {more} more "
    "retrained models would settle this if they differ as these do",
    "small_sample": "small sample: {n}",
    "partial": "measured on {n} of {whole} samples",
    "partial_part": "{part}: measured on {n} of {whole} samples",
    "few_classes": "among {n} of {whole} classes",
    "probe_below_accuracy": "the probe finds {probe:.1%} of the forgotten classes in the original's features, and the "
    "original itself recognises {accuracy:.1%}",
    "one_retrained": "one retrained model",
    "one_reference": "one reference model",
    "u_lira_banks": "U-LiRA with {shadows} shadow and {retrained} retrained models",
    "neighbour_without_retrained": "the nearest class is chosen without a retrained model",
    "equal_scores": "degenerate: all scores are equal",
    "one_class_predicted": "degenerate: nearly all predictions are one class",
    "weights_kept": "{share:.0%} of the weights are still bit for bit the original's",
    "weak_attack": "weak attack: it is right on {share:.0%} of retained samples",
    "few_non_members": "{n} non-members are too few for a false positive rate of 1 %: none is allowed",
    "partly_drawn": "only {share:.0%} of the untrained network's weights could be drawn anew",
    "censored": "censored: not relearned within {steps} steps",
    "stand_ins": "measured on stand-ins of another origin, not on the forgotten data",
    "slowed_by_counting": "slowed by counting operations: these seconds compare with nothing else",
    "counted_on_one_side": "some of the runs were slowed by counting operations: their seconds do not compare",
    "outside_band": "outside the band of the retrained models: {readings}",
    "inside_band": "inside the band of the retrained models",
    "readings_unresolved": "not resolved: {readings}",
    "no_forgotten_data": "there is no data of the forgotten classes",
    "representation_unresolved": "representation not resolved ({reasons})",
    "outputs_and_membership_unresolved": "outputs and membership not resolved ({reasons})",
    "rows_without_power": "of these {n} pictures the original names {original:.1%} rightly and models that never saw "
    "them {retrained:.1%}, so hardly any was learned by heart, and an audit has nothing to look for; this does not say "
    "that they are gone",
    "rows_unresolved": "membership and outputs on the forgotten pictures not both resolved ({reasons})",
    "mixed_request": "a request for classes and for single pictures at once is not judged; audit each by itself",
    "reading_unresolved": "{reading}: {reason}",
    "family_not_measured": "not measured",
    "judged_on_stand_ins": "judged on stand-ins, not on the forgotten data",
    "not_forgotten_retrained": "it still names {accuracy:.1%} of the samples of the forgotten classes rightly, "
    "retrained models at most {retrained:.1%}",
    "not_forgotten_chance": "it still names {accuracy:.1%} of the samples of the forgotten classes rightly, where "
    "chance is {chance:.1%}",
    "weights_unchanged": "its weights are exactly those from before",
    "retained_accuracy_kept": "of {n} retained validation samples {after:.1%} are right, {before:.1%} by the original "
    "without the forgotten outputs: at most {bound:.1%} is lost (one-sided, 95 %), within the {tolerance:.1%} that "
    "may be",
    "retained_accuracy_open": "of {n} retained validation samples {after:.1%} are right, {before:.1%} by the original "
    "without the forgotten outputs: up to {bound:.1%} may be lost (one-sided, 95 %), so these samples do not rule out "
    "more than the {tolerance:.1%} that may be",
    "retained_accuracy_lost": "of {n} retained validation samples {after:.1%} are right, {before:.1%} by the original "
    "without the forgotten outputs: at least {bound:.1%} is lost (one-sided, 95 %), more than the {tolerance:.1%} that "
    "may be",
    "retained_accuracy_by_heart": "of {n} retained validation samples {after:.1%} are right, {before:.1%} by the "
    "original without the forgotten outputs: at least {bound:.1%} is lost, more than the {tolerance:.1%} that may be; "
    "but the original knows these samples as well as those that it was trained on, and so may have known them by heart",
    "directions_doubtful": "the method estimates how the forgotten class looks to the network, without its images; "
    "tried on retained classes, such estimates have a cosine of {cosine:.2f} with the truth, and of the project's own "
    "results below {least:.2f} most failed their audit. Rely on nothing but an audit against retrained models",
    "request_privacy": "the original was trained with differential privacy, epsilon {one:.3g} at delta {one_delta:.1e} "
    "for one sample; by group privacy, for the {rows:,} samples of this request together epsilon {epsilon:.3g} at "
    "delta {delta:.1e}: at {false_alarms:.0%} false alarms no test tells more than {hits:.1%} of the models that had "
    "them, and the same holds of the unlearned model where its method read none of them",
    "request_privacy_vacuous": "the original was trained with differential privacy, epsilon {one:.3g} at delta "
    "{one_delta:.1e} for one sample, but for the {rows:,} samples of this request together that is epsilon "
    "{epsilon:.3g} at delta {delta:.1e}, which says nothing: at {false_alarms:.0%} false alarms it allows tests that "
    "tell {hits:.1%} of the models that had them; this request is not protected by it",
    "statement_head": "of the head, given the body: (epsilon, delta) = ({epsilon:g}, {delta:g}) against a head fitted "
    "without what is forgotten, before anybody who knows neither the seed nor config.json; the bound of the residual "
    "has used {spent:.2g} of {budget:.2g} (requests since the last fit: {requests}). The body has seen what is "
    "forgotten: nothing is stated of the whole model",
    "statement_head_published": "of the head, given the body: (epsilon, delta) = ({epsilon:g}, {delta:g}) against a "
    "head trained without what is forgotten, before anybody who knows neither the seed nor config.json; whoever sees "
    "all heads published so far ({publications}) has epsilon {together:.3g}. The body has seen what is forgotten: "
    "nothing is stated of the whole model",
    "statement_head_exact": "the head, given the body, is exactly the one fitted without what is forgotten. The body "
    "has seen that: nothing is stated of the whole model",
    "statement_head_projected": "no (epsilon, delta). The head, given the body, is changed exactly in {span} of its "
    "{inputs} input directions, and not at all in the others. The body has seen what is forgotten: nothing is stated "
    "of the whole model",
    "statement_weights": "(epsilon, delta) = ({epsilon:g}, {delta:g}) of the trainable weights after the noisy steps, "
    "against the same training from any other start. The noise is {noise_to_weights:.3g} times the weights that it is "
    "added to; of frozen weights nothing is stated",
    "remark": "{text}",
}

# what is said instead where single pictures or parts of classes were to be forgotten, and no whole class alone
FOR_PICTURES: Mapping[str, object] = {
    "READS": "The pictures to forget",
    "READINGS_LEAD": "Every value of the audit, with the reasons to doubt it beside it. For most of them the right "
    "value is that of a model retrained without these pictures, not zero.",
    "WORK": {"features": "reading the pictures from the features of every layer"},
    "METRICS": {
        "prediction_max_share": (
            "Largest share of one class",
            "how much of the pictures to forget is taken for a single class",
        ),
        "prediction_entropy": (
            "Spread of predictions",
            "entropy: 0 when all pictures to forget are taken for one class, higher the more it spreads",
        ),
        "membership_auc_loss": (
            "Membership of samples, by loss",
            "AUC of telling the pictures to forget from unseen ones: right is the retrained models' value, which "
            "is not a coin's where the pictures are harder than others",
        ),
        "membership_tpr_loss": (
            "Members found by loss",
            "share of the pictures to forget that the attack finds while 1% of unseen ones are called members",
        ),
        "membership_u_lira": (
            "Taken for unlearned, by U-LiRA",
            "share of the pictures to forget that look like samples unlearned by this method, rather than never seen",
        ),
        "membership_svc": (
            "Members by a learned attack",
            "share of the pictures to forget that an SVC, fitted to retained samples, takes for members",
        ),
        "return_recovery": (
            "Recovery by retained data alone",
            "accuracy on the pictures to forget after training on the others, the largest of several rates and lengths",
        ),
    },
    "PARTS": {
        "retain_train": "other pictures, training",
        "retain_val": "other pictures, validation",
        "forget_train": "pictures to forget",
        "retain_test": "other pictures, test",
        "forget_test": "test pictures like those to forget",
        "excluded_train": "forgotten earlier, training",
        "excluded_test": "forgotten earlier, test",
    },
    "VERDICTS": {
        "pass": (
            "✓",
            "By every measure that is resolved here, the model cannot be told from one retrained without these "
            "pictures.",
        ),
        "fail": ("✕", "The model can be told from one retrained without these pictures."),
        "unknown": (
            "?",
            "This audit does not settle whether the model can be told from one retrained without these pictures.",
        ),
    },
    "TIERS": {
        "E3": "E3: the pictures to forget were there to look at.",
        "E2": "E2: test pictures like those to forget were there to look at, the pictures themselves were not; what "
        "needs those is unknown.",
        "E1": "E1: stand-ins of another origin were looked at, none of the pictures to forget. What holds for the "
        "stand-ins need not hold for them.",
        "E0": "E0: nothing was there of the pictures to forget but their hashes, so no audit can pass.",
    },
    "LOST_MOST": "The class that lost most: {}, from {} to {} ({}).",
    "LOST_NONE": "No class lost accuracy.",
    "READ_BY_METHOD_NONE": "The method never opened one of the pictures to forget. This is counted where images are "
    "handed out, not declared.",
    "READ_BY_METHOD_SOME": "The method opened pictures that were to be forgotten. Whoever relies on forgetting without "
    "access to them must know this.",
    "NO_RETRAINED": "No retrained model was given. So it cannot be said whether the accuracies and the outputs are "
    "those of a model that never saw these pictures, nor how much cheaper forgetting was than retraining.",
    "LOST_ACCURACY": "What was to stay may have suffered: {}. Let the method do less (`unlearnkit methods NAME` lists "
    "its settings), or repair longer.",
    "FIGURES": {
        "accuracy": (
            "Accuracy per class, on test data",
            "One row per class, those that lost most first. The ring is the model before, the dot after forgetting, "
            "the diamond a model retrained without the pictures to forget.",
            "A dot far left of its ring and of the diamonds: forgetting the pictures took something from the class.",
        ),
        "bands": (
            "Where the model stands",
            "One row for each reading that is voted on, each on its own scale, from the lowest to the highest value "
            "that occurs. The pale bar is the band around the retrained models, the diamonds, within which a reading "
            "passes. Of accuracy on the pictures and of membership too little is a mark as well as too much. ✓ inside, "
            "✕ outside, ? not established.",
            "A dot outside its bar. Where the ring lies inside the bar too, or close to it, the reading could not have "
            "told a model that forgot nothing, and clears nobody: the pictures were not learned by heart.",
        ),
        "histograms": (
            "How wrong and how sure, picture by picture",
            "Loss and entropy of the outputs on the pictures to forget: each line is the share of them in each bin, "
            "with the model's mark on the largest. A loss near 0 means that the picture is recognised; an entropy near "
            "0 means that the model is sure of some class, right or wrong. The means are in the table.",
            "A line of the unlearned model with a part at the original's: some pictures are still known by heart. "
            "Losses far from the retrained ones', to either side, tell the model apart too.",
        ),
        "return": (
            "Do the pictures come back by themselves?",
            "Accuracy on the pictures to forget before (0) and after training on the others alone, by the number of "
            "steps and their size as a share of each layer's weights; nobody shows the model the pictures. Retrained "
            "models name many of them rightly without having seen them.",
            "The dot of the unlearned model lies away from the diamonds in any row: the pictures were suppressed "
            "rather than removed, and ordinary further training frees them.",
        ),
        "membership": (
            "Can the pictures to forget be told from unseen ones?",
            "An attacker calls a picture with a small loss a member of the training data. The curve is the share of "
            "members found over the share of others called members by mistake; guessing gives the straight line from "
            "0% to 100%. For the retrained models none of these pictures is a member; where their lines are not "
            "straight, the pictures are easier or harder than the unseen ones.",
            "The line of the unlearned model above the retrained ones', most of all at the left, where the attacker is "
            "hardly ever wrong; or far below them, as after pushing the loss on members up.",
        ),
        "weights": (
            "How far each layer moved",
            "L2 distance of every layer's weights to the original's, on a logarithmic scale, from the input at the top "
            "to the output at the bottom. A retrained model is far away whatever it was trained on, so the dots need "
            "not reach the diamonds.",
            "Only the last layer moved: then the output was changed, and the layers before it may still know the "
            "pictures.",
        ),
    },
    "SENTENCES": {
        "needs_forgotten_samples": "needs pictures to forget and unseen ones",
        "stand_ins": "measured on stand-ins of another origin, not on the pictures to forget",
        "no_forgotten_data": "nothing is there of the pictures to forget",
        "judged_on_stand_ins": "judged on stand-ins, not on the pictures to forget",
        "not_forgotten_retrained": "it still names {accuracy:.1%} of the pictures to forget rightly, retrained models "
        "at most {retrained:.1%}",
        "retained_accuracy_kept": "of {n} validation samples that were to stay {after:.1%} are right, {before:.1%} by "
        "the original: at most {bound:.1%} is lost (one-sided, 95 %), within the {tolerance:.1%} that may be",
        "retained_accuracy_open": "of {n} validation samples that were to stay {after:.1%} are right, {before:.1%} by "
        "the original: up to {bound:.1%} may be lost (one-sided, 95 %), so these samples do not rule out more than the "
        "{tolerance:.1%} that may be",
        "retained_accuracy_lost": "of {n} validation samples that were to stay {after:.1%} are right, {before:.1%} by "
        "the original: at least {bound:.1%} is lost (one-sided, 95 %), more than the {tolerance:.1%} that may be",
    },
}
