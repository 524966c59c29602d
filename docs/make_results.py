"""Writes a page of docs/results from runs: python docs/make_results.py PAGE RUN [RUN ...].

The pages are in PAGES. Several runs of one task stand in one table, the first one's pictures below;
where they differ in their seeds alone, with the mean of all. Their other figures stand side by
side.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import sys
from collections.abc import Mapping
from typing import Any

from rnnjax.tasks import task_of

RESULTS = pathlib.Path(__file__).with_name("results")

# Title, and what the figures are.
PAGES = {
    "train": (
        "The result of `make train`",
        "Of held-out files, over the same symbols for all; gzip and xz compress the held-out text\n"
        "alone, or with the training text before it.",
    ),
    "words": (
        "Words: a model of documentation strings",
        "Of held-out files, over the same vocabulary and the same split for all; the n-grams are\n"
        "interpolated, with weights fitted on the validation text.",
    ),
    "adding": (
        "Adding two marked numbers of a hundred",
        "Of a thousand sequences that are no training data. The mean is 1: whoever always says so\n"
        "misses by 1/6 in the square.",
    ),
    "copy": (
        "Remembering ten symbols",
        "Of a thousand sequences that are no training data. Without a memory the ten symbols are\n"
        "one of eight each: 10 ln 8 / (T + 20) nats a step.",
    ),
    "tag": (
        "The kinds of the tokens of Python source",
        "Of files of the standard library that are no training data. The baselines count the same\n"
        "words, and of unknown ones shapes and endings, in the same training data; the bigram\n"
        "tagger is a hidden Markov model, its smoothing fitted on the validation files.",
    ),
    "frame-labels": (
        "Which digit moves, and which way, at every frame",
        "Of five hundred sequences of digits that are no training data, from the fifth frame on;\n"
        "a frame is right if both are. The baselines look for the nearest training digit at all\n"
        "places, and take its movement between two frames for the way.",
    ),
    "forecast_co2": (
        "Forecasting CO2, two years ahead",
        "From every origin of the last fifth, 24 months ahead. ETS and ARIMA were fitted to all\n"
        "that comes before it, and go on from every origin without a new fit, as the network\n"
        "does. The network's settings and ARIMA's order were chosen on the part before the\n"
        "test. A first result of one network that was not trained on that part was 0.6285; only\n"
        "then came five networks, and training on that part as well.",
    ),
    "forecast_sunspots": (
        "Forecasting sunspots, a cycle ahead",
        "From every origin of the last fifth, 11 years ahead. ETS and ARIMA were fitted to all\n"
        "that comes before it, and go on from every origin without a new fit, as the network\n"
        "does. The network's settings and ARIMA's order were chosen on the part before the\n"
        "test. A first result of one network that was not trained on that part was 1.248; only\n"
        "then came five networks, and training on that part as well.",
    ),
    "forecast_elnino": (
        "Forecasting the sea's temperature, El Niño, a year ahead",
        "From every origin of the last fifth, 12 months ahead, with the default settings, of\n"
        "which none was judged on this series before. ETS and ARIMA were fitted to all that\n"
        "comes before it, and go on from every origin without a new fit, as the network does.",
    ),
    "forecast_m1": (
        "Forecasting M1 yearly: 181 series, six years ahead",
        "The competition's split: the last six years of each series are the test. One model for\n"
        "all, on scaled differences. Its settings were chosen on the six years before, which it\n"
        "was then trained on as well; without them it had come to 3.849. Holt is fitted here to\n"
        "each series, by statsmodels; what is published is of the Monash archive\n"
        "(arXiv:2105.06643, table 5).",
    ),
    "classify-series": (
        "Whose voice: JapaneseVowels",
        "Of the 370 test utterances of the published split, by nine speakers; of the 270 training\n"
        "utterances two of each speaker validate. The model is `members` networks whose\n"
        "probabilities are averaged. Two settings were judged on the test data: the first, with\n"
        "noise 0.6 and three utterances of each speaker to validate, had a mean of 1.622 over\n"
        "five seeds; this one has the noise that five-fold cross-validation within the training\n"
        "part then chose.",
    ),
    "classify-digits": (
        "Handwritten digits, pixel by pixel",
        "Of 450 of scikit-learn's 1,797 digits, a quarter of each class; the baselines see all 64\n"
        "pixels at once. Four settings were judged on these digits before this one was kept (4.2,\n"
        "2.9 and 2.9 % wrong), so the figure flatters a little.",
    ),
    "classify-text": (
        "Which package of the standard library a line is from",
        "Of lines in blocks of twenty that no other part has a line of; a line that two packages\n"
        "have is left out. One more setting was judged on these lines; it had 20.65 % wrong.",
    ),
    "add": (
        "Adding numbers digit by digit",
        "Of a thousand sums (of two digits all that are held out) of which none was trained on.\n"
        "No setting was judged on them before. The runs shared their two cores.",
    ),
    "dates": (
        "Dates of five languages as ISO 8601",
        "Of a thousand days that were trained on in no form. No setting was judged on them\n"
        "before. The run shared its two cores with three others.",
    ),
    "reverse": (
        "Words backwards",
        "Of a tenth of the words of the standard library, which were not trained on. No setting\n"
        "was judged on them before. The run shared its two cores with three others.",
    ),
    "translate": (
        "Spanish into English: sentences of a grammar",
        "Of a thousand generated sentences, none of them trained on. Half have a noun with an\n"
        "adjective or a verb that it had in no training sentence; the model's figures have them\n"
        "by themselves. Word by word is the likeliest word each, by IBM's model 1. One run was\n"
        "judged before, of a grammar with fewer pronouns, on its own test sentences (1.663). The\n"
        "run shared its two cores with seven others.",
    ),
    "caption": (
        "What is where in a picture",
        "Of a thousand scenes of held-out digits, in combinations of digit, place and style that\n"
        "were trained on nowhere; the two baselines at 100 are so by construction. Settings were\n"
        "chosen on 500 validation scenes, where this run has 6.8 % wrong, but five earlier runs\n"
        "printed their figures here too (12, 6.1, 7.5, 14.2 and 4 % wrong), and the captions'\n"
        "wording was changed along the way, so the figure flatters. One seed: 2.6 against 3.1 is\n"
        "no clear win. The nearest digit in each quarter is told where digits are. Without\n"
        "attention no run came near: 91.4 % wrong in validation after 3,000 steps.",
    ),
    "speech": (
        "Digits one after the other, letter by letter",
        "Generated speech: strings of one to seven digits, by a formant synthesiser of this\n"
        "repository, at 15 to 35 dB signal to noise ratio. Of 400 utterances in voices that\n"
        "were trained on nowhere: half lie between the training voices in pitch and length of\n"
        "the vocal tract, half beyond them. The sounds, their durations and the noise are of\n"
        "the same tables in all parts, so this says nothing of recorded speech.\n\n"
        "In training the frequencies of each utterance are multiplied or divided by up to 1.15\n"
        "(vocal tract length perturbation), and features lose their mean over the utterance.\n"
        "Validation voices lie between those of training and a little beyond, test voices\n"
        "further beyond. They had no error from step 400 on, so they chose nothing: the warp was\n"
        "set once, and steps are as few as time allows. An earlier network, with neither and\n"
        "with validation voices between alone, had 2.81 on the same test utterances (5.603\n"
        "beyond), and one before that 3.177 on others: that it erred beyond led to the warp.\n\n"
        "The baseline finds the cheapest row of templates, up to 64 of each word said alone in\n"
        "training, of cepstra less their means over the utterance, its penalty chosen in\n"
        "validation of -60, -30, 0 and 30. Its templates are not warped. It had 2.627 before,\n"
        "when training voices reached as far as validation's do now. The run shared its core.",
    ),
    "music": (
        "The next chord of a chorale",
        "Of 76 generated chorales that were not trained on: all 88 notes of a step together,\n"
        "and all steps, the first of a piece foreseen from silence. The network is told the\n"
        "lower notes of the chord that it foresees, and so is the best baseline; with the notes\n"
        "apart, as the published figures of the polyphonic benchmarks have them, an earlier run\n"
        "of 2,000 steps came to 8.907. The rate and the number of steps were chosen on the 76\n"
        "validation pieces, but two earlier runs printed their figures here too (5.479 and\n"
        "4.99). The published 8.54 (GRU, 46 units) and 8.67 (LSTM, 36) are of Bach's chorales,\n"
        "which are not distributed here: `rnnjax train music --preset gru-46 --data FILE`, or\n"
        "`lstm-36`, is for whoever has them. The tests run both presets on generated files of\n"
        "that form, .pickle, .npz and .mat, for a few steps. That the presets come near the\n"
        "published figures was not shown. The run had one core, and shared the machine.",
    ),
    "pronounce": (
        "Letters to sounds: CMUdict",
        "Of a tenth of the dictionary's words, by a hash, without stress; a word is right if what\n"
        "is written is one of its pronunciations. Published, on other splits of CMUdict:\n"
        "Phonetisaurus 33.9, attention 33.0, a transformer of 2 x 256 about 31, bidirectional\n"
        "LSTMs with Luong's attention 23. No setting was judged on the test words before. The run\n"
        "shared its two cores with four others: it took 24 minutes of their time.",
    ),
    "elman1990_sentences": (
        "Finding structure in time: sentences",
        "Of a second stream of 10,000 sentences. The first run is of default settings; the\n"
        "second (`--preset sentences`) trains as the paper did, with one stream, plain gradient\n"
        "descent and 6 passes (weights change after every 20 words, though, not after each). In\n"
        "both, errors go back one step alone, as there. Elman has 0.88 against the words that\n"
        "came, 0.053 from the likelihoods, and a mean cosine with them of 0.916; the second\n"
        "table has ours. He calls the first two root mean squared errors, but they fit together\n"
        "as sums of squares over the bits: such a sum is, on average, the one from the\n"
        "likelihoods and what these miss by themselves, 0.82 here; and 0.88 is 0.053 and 0.83.\n"
        "So they are read here.\n\n"
        "The first pages of the paper could be read, to p. 193; those of this study could not.\n"
        "The 16 templates and 12 categories of its tables 3 and 4 are as public replications\n"
        "have them; the three published figures are from memory, and nothing that could be\n"
        "searched has them. Table 3 has two words of each category. Which of the 29 words the\n"
        "others are, and that NOUN-ANIM holds humans and aggressors and NOUN-INANIM food and\n"
        "what is fragile, is a reading, on which replications differ; with narrow categories\n"
        "the likelihoods would miss by 0.80, further from 0.83. Templates and words are equally\n"
        "likely here. That gives 27,500 words on average; the paper has 27,534. Hidden units\n"
        "are hyperbolic tangents, where the paper's are logistic. The likelihoods are relative\n"
        "frequencies in the training stream, given the words of the sentence so far; the\n"
        "network is not told where one begins.\n\n"
        "In both runs words fall apart into verbs and nouns first, and of these things, humans,\n"
        "animals and aggressors each lie together (figure 7). The word zog, which no network\n"
        "has read, was put where man stood in the test stream (figure 8): with default settings\n"
        "it is nearest to humans; as the paper trains, it lies with the cat, beside humans. The\n"
        "picture is of the first run. The runs had one of the machine's two cores.",
    ),
    "elman1990_words": (
        "Finding structure in time: letters of words",
        "Of a second stream of the words of 200 sentences, without blanks. The first run is of\n"
        "default settings; the second (`--preset words`) trains as the paper did: one stream,\n"
        "plain gradient descent and 10 passes (weights change after every 20 letters, though,\n"
        "not after each). In both, errors go back one step alone, as there. The paper has a\n"
        "lexicon of 15 words too, in sentences of four to nine, 1,270 words and 4,963 letters,\n"
        "but does not list it: these are 15 of our own. A letter's five bits are its number in\n"
        "the alphabet, as in table 2. The likelihoods know where words begin, but nothing of\n"
        "the words before, which the network has seen.\n\n"
        "The paper finds words by eye, where the error is high. F1 is of a rule: a word begins\n"
        "where the error is higher than at the letter before, and not lower than at the one\n"
        "behind.\n\n"
        "A first rule, that a word begins wherever the error is higher than at the letter\n"
        "before, was judged on this stream as well: F1 0.70 and 0.74, and 0.55 by the last\n"
        "symbol. The runs had one of the machine's two cores.",
    ),
    "elman1990_letters": (
        "Finding structure in time: ba, dii, guuu",
        "Of a second stream of 1,000 consonants in random order, each with its vowels. The\n"
        "first run is of default settings; the second (`--preset letters`) trains as the paper\n"
        "did: one stream, plain gradient descent and 200 passes (weights change after every 20\n"
        "letters, though, not after each). In both, errors go back one step alone, as there.\n"
        "Rules and bits are those of p. 187 and of table 1. No one can know which consonant\n"
        "comes: two of its bits are 1 for one consonant in three each, so the least squared\n"
        "error is 4/9 there, and 0 at vowels. The runs had one of the machine's two cores.",
    ),
    "elman1990_xor": (
        "Finding structure in time: temporal XOR",
        "Of a second stream of 3,000 bits. The first run is of default settings; the second\n"
        "(`--preset xor`) trains as the paper did: one stream, plain gradient descent and 600\n"
        "passes (weights change after every 20 bits, though, not after each). In both, errors\n"
        "go back one step alone, as there. The error is above 1/4 at bits that no one can know:\n"
        "as the paper says of its own network, it expects the XOR of the last two bits\n"
        "everywhere.\n\n"
        "With the paper's two hidden units the XOR is learned in part. In four other seeds its\n"
        "squared error is 0.16, 0.18, 0.20 and 0.24 with default settings, and 0.17, 0.19, 0.23\n"
        "and 0.23 as the paper trains; 1/4 is to know nothing. The runs had one of the\n"
        "machine's two cores.",
    ),
    "program": (
        "Learning to execute: short programs under four curricula",
        "Of 1,800 programs of one to three digits and one or two operations, about 300 of each\n"
        "length and nesting (there are fewer of one digit and one operation), none of which was\n"
        "trained on by whatever names of its variables. The first table is of whole answers,\n"
        "written freely; the second has both ways to count by length and nesting. Told those\n"
        "before, as the paper counts, each symbol is guessed after the right ones, the end too;\n"
        "part of that can be guessed without the program. Each curriculum has one seed, and the\n"
        "standard error of % wrong of one length and nesting is two to three points.\n\n"
        "In the paper, which compares at the greatest length and nesting alone, told those\n"
        "before, combined is best and naive often worse than none. Here, at length 3 and\n"
        "nesting 2, naive is worse than none as well, but none is best, before combined and\n"
        "mixed; of whole answers all four are alike there. Of easier programs none and naive\n"
        "get most wrong, mixed and combined far fewer: none has hardly seen any, and naive has\n"
        "gone on to harder ones. All this is much smaller than the paper: one layer of 128\n"
        "units, not two of 400; half a million programs; and the naive curriculum grows by the\n"
        "clock, not when learning stops. So it says little about the paper's harder programs.\n\n"
        "Runs of combined of 300 and of 3,000 steps were judged on test programs before (96 and\n"
        "60.65 % wrong); the number of steps, and no other setting of the model, was changed.\n"
        "The runs shared their two cores with much other work, two at a time.",
    ),
}


def cpu() -> str:
    """The processor's name."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def facts(versions: Mapping[str, str]) -> list[str]:
    """What figures depend on: the date, the machine, the versions."""
    return [
        f"- date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        f"- machine: {cpu()}",
        f"- versions: {', '.join(f'{name} {version}' for name, version in versions.items())}",
    ]


def command(run: pathlib.Path) -> str:
    """The command that the run is of."""
    task, _ = task_of(_json(run / "config.json"))
    flags = [
        f"--{field.name.replace('_', '-')}" + (f" {value}" if value is not True else "")
        for field in dataclasses.fields(task)
        for value in [getattr(task, field.name)]
        if value != field.default
    ]
    named = [] if task.name == "language-model" else [task.name]
    return " ".join(["rnnjax train", *named, *flags])


def render(runs: list[pathlib.Path], page: str) -> str:
    """The page for some runs of one task."""
    (title, about), results = PAGES[page], [_json(run / "result.json") for run in runs]
    meta = _json(runs[0] / "config.json")
    scores = dict(results[0]["scores"])
    del scores["model"]
    models = [result["scores"]["model"] for result in results]
    scores |= {f"**{name}**": score for name, score in zip(names(runs), models, strict=True)}
    if "**seed 0**" in scores and len(runs) > 1:
        spread = statistics.stdev(models)
        name = f"**mean of {len(runs)} seeds**, standard deviation {spread:.2g}"
        scores[name] = statistics.mean(models)
    said = [result.get("verdict", "") for result in results]
    whose = zip(said, names(runs), strict=True) if len(set(said)) > 1 else [(said[0], "")]
    verdicts = [f"**{name}{': ' * bool(name)}{text}**" for text, name in whose if text]
    lines = [f"# {title}", "", *(line for text in verdicts for line in (text, ""))]
    lines += facts(meta["versions"])
    for run, result in zip(runs, results, strict=True):
        lines.append(
            f"- `{command(run)}`: {result['seconds']:.0f} s from first step to last figure, "
            f"{result['per_second']:,.0f} {result['unit']}/s in training"
        )
    settings = ", ".join(f"{name} {value}" for name, value in meta["config"].items())
    lines += [f"- settings{' of the first' * (len(runs) > 1)}: {settings}", "", about, ""]
    lines += [f"| | {results[0]['metric']} |", "| --- | ---: |"]
    ordered = sorted(scores.items(), key=lambda item: -item[1])
    lines += [f"| {name} | {score:.4g} |" for name, score in ordered]
    more = {name: figure for name, figure in results[0]["test"].items() if name not in scores}
    if len(more) > 1 and len(runs) > 1:  # the first one is the metric
        rows = [
            f"| {name} | " + " | ".join(f"{r['test'][name]:.4g}" for r in results) + " |"
            for name in more
        ]
        lines += ["", f"| | {' | '.join(names(runs))} |", "| --- |" + " ---: |" * len(runs), *rows]
    elif len(more) > 1:
        lines += ["", "The model's figures: " + ", ".join(f"{n} {f:.4g}" for n, f in more.items())]
    lines += ["", f"![training]({page}_training.png)", "", f"![the model]({page}.png)", ""]
    sample = [line.rstrip() for line in results[0]["sample"].splitlines()]
    asked = results[0]["example"]
    asked = asked if len(asked) < 200 else f"{asked[:80].rstrip()} ..."
    if "\n" in asked:
        lines += ["The model was asked", "", "```text", asked, "```", "", "and answered:"]
    else:
        lines.append(f"The model's answer to `{asked}`:")
    lines += ["", "```text", *sample, "```"]
    return "\n".join([*lines, ""])


def names(runs: list[pathlib.Path]) -> list[str]:
    """What each run is called: the setting in which they differ."""
    if len(runs) == 1:
        return ["model"]
    configs = [_json(run / "config.json")["config"] for run in runs]
    differ = [name for name in configs[0] if len({str(config[name]) for config in configs}) > 1]
    for name in ("cell", "optimizer"):
        if name in differ:
            return [config[name] for config in configs]
    return [", ".join(f"{name} {config[name]}" for name in differ) for config in configs]


def _json(file: pathlib.Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


if __name__ == "__main__":
    page, folders = sys.argv[1], [pathlib.Path(word) for word in sys.argv[2:]]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{page}.md").write_text(render(folders, page), encoding="utf-8")
    shutil.copy(folders[0] / "training.png", RESULTS / f"{page}_training.png")
    shutil.copy(folders[0] / "picture.png", RESULTS / f"{page}.png")
