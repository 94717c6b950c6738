"""The published data sets of questions with one answer, each declared once: columns, wording, verifier, splits, licence.

Not for what their columns mean (columns.py), how they are loaded (published.py), programs (humaneval, mbpp, code_contests,
livecodebench) or instructions (ifeval).
"""

from __future__ import annotations

from burnish.tasks import columns
from burnish.tasks.cards import Card
from burnish.tasks.languages import GIVE_A_NUMBER
from burnish.tasks.published import DataSet, told

_MATH_HUB = "EleutherAI/hendrycks_math:{}@{}#21a5633873b6a120296cce3e2df9d5550074f4a3"
_SUBJECTS = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra"),
    "precalculus",
)
_MATH_500 = "HuggingFaceH4/MATH-500@test#6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be"
_GSM8K_HUB = "openai/gsm8k:main@{}#740312add88f781978c0658806c59bc2815b9866"
_AQUA_HUB = "deepmind/aqua_rat:raw@{}#33301c6a050c96af81f63cad5562cb5363e88971"
_SVAMP_HUB = "ChilleD/SVAMP@{}#5e0bf1e5e7c0e9c4bc39180d224f41f3f801b7ef"

GSM8K = DataSet(
    name="gsm8k",
    verifier="number",
    read=columns.gsm8k,
    told=told("the final number"),
    train=(_GSM8K_HUB.format("train"),),
    held_out=(_GSM8K_HUB.format("test"),),
    card=Card(
        "GSM8K",
        "School mathematics in words, with a whole number for an answer. 7,473 rows to train on, 1,319 held out.",
        'question; answer, the number after its last "####"',
        "https://github.com/openai/grade-school-math",
        "MIT",
        "Cobbe et al. 2021, arXiv:2110.14168",
        {"question": "A box holds 6 pens. How many pens are in 12 boxes?", "answer": "12*6=<<12*6=72>>72\n#### 72"},
    ),
)
_MATH_CARD = (
    'problem; answer, or else the last \\boxed of solution; level (5 or "Level 5"); subject or type; unique_id',
    "https://github.com/hendrycks/math",
    "MIT, as its authors state; the problems are those of competitions (AoPS)",
)
_MATH_EXAMPLE = {
    "problem": "Compute $\\frac{1}{2} + \\frac{1}{4}$.",
    "solution": "We have $\\frac{2}{4} + \\frac{1}{4} = \\boxed{\\frac{3}{4}}$.",
    "level": "Level 1",
    "type": "Prealgebra",
}
MATH = DataSet(
    name="math",
    verifier="math",
    read=columns.math,
    told=told("the final answer"),
    train=tuple(_MATH_HUB.format(subject, split) for split in ("train", "test") for subject in _SUBJECTS),
    held_out=(_MATH_500,),
    names=("unique_id",),
    facets=("level", "subject"),
    card=Card(
        "MATH",
        "Competition mathematics in seven subjects and five levels, 12,500 problems. MATH-500 is held out, and what stands in it is "
        "taken out of the training split, by what the problem says. That leaves the 12,000 of PRM800K, less repeats.",
        *_MATH_CARD,
        "Hendrycks et al. 2021, arXiv:2103.03874",
        _MATH_EXAMPLE,
    ),
)
MATH500 = DataSet(
    name="math500",
    verifier="math",
    read=columns.math,
    told=told("the final answer"),
    held_out=(_MATH_500,),
    names=("unique_id",),
    facets=("level", "subject"),
    card=Card(
        "MATH-500",
        "The 500 problems of MATH that PRM800K held out; for evaluation.",
        *_MATH_CARD,
        "Lightman et al. 2023, arXiv:2305.20050",
        {
            **_MATH_EXAMPLE,
            "answer": "\\frac{3}{4}",
            "level": 1,
            "subject": "Prealgebra",
            "unique_id": "test/prealgebra/1.json",
        },
        "A training file of MATH holds these problems too: train on `math`, which takes them out.",
    ),
)
_AIME_CARD = (
    "problem (or Problem, question); answer (or Answer), 0 to 999; year, or a year in id or url",
    "https://artofproblemsolving.com/wiki/index.php/AIME_Problems_and_Solutions",
    "none stated; the problems are of the Mathematical Association of America",
    "the competition itself",
)
AIME24 = DataSet(
    name="aime24",
    verifier="number",
    read=columns.aime,
    told=told("the final number"),
    held_out=("HuggingFaceH4/aime_2024@train#2fe88a2f1091d5048c0f36abc874fb997b3dd99a",),
    splits=("train", "train"),
    facets=("year",),
    card=Card(
        "AIME 2024",
        "The 30 problems of both papers of 2024, each with a whole number from 0 to 999 for an answer; for evaluation.",
        *_AIME_CARD,
        {
            "id": 60,
            "problem": "How many whole numbers from 1 to 99 are multiples of 3?",
            "answer": "033",
            "year": "2024",
        },
        "30 problems: sample each many times, and read the interval.",
    ),
)
AIME25 = DataSet(
    name="aime25",
    verifier="number",
    read=columns.aime,
    told=told("the final number"),
    held_out=("math-ai/aime25@test#563bb8404243c5f09de6ec262f2db674fe5bce9b",),
    facets=("year",),
    card=Card(
        "AIME 2025",
        "The 30 problems of both papers of 2025, each with a whole number from 0 to 999 for an answer; for evaluation.",
        *_AIME_CARD,
        {"id": "0", "problem": "What is the remainder of $2^{10}$ divided by $1000$?", "answer": 24},
        "30 problems: sample each many times, and read the interval.",
    ),
)
AMC = DataSet(
    name="amc",
    verifier="number",
    read=columns.amc,
    told=told("the final number"),
    held_out=("AI-MO/aimo-validation-amc@train#69d78a4a2c840e82d69af6bc742bda09005f6316",),
    splits=("train", "train"),
    card=Card(
        "AMC",
        "83 problems of AMC 12 of 2022 and 2023, made to have a whole number for an answer; amc23 is the 40 of 2023. For evaluation.",
        "problem (or question); answer, 27.0 for 27",
        "https://artofproblemsolving.com/wiki/index.php/AMC_12_Problems_and_Solutions",
        "Apache-2.0 for the collection (AI-MO); the problems are of the Mathematical Association of America",
        "the competition itself",
        {"id": 0, "problem": "Two towns are 45 miles apart. How many half miles is it to half-way?", "answer": 45.0},
    ),
)
OLYMPIADBENCH = DataSet(
    name="olympiadbench",
    verifier="math",
    read=columns.olympiadbench,
    told=told("the final answer"),
    held_out=("Hothan/OlympiadBench:OE_TO_maths_en_COMP@train#91184b52131e7fc9455fef848035173aea8cc01a",),
    splits=("train", "train"),
    names=("id",),
    facets=("subject", "language"),
    card=Card(
        "OlympiadBench",
        "Olympiad problems with an answer to compare: numbers, expressions, tuples, intervals. The text-only mathematics in English is "
        "675 rows; for evaluation. Proofs, pictures and answers that need a person are left out and counted.",
        "question; final_answer, a list; context, unit, error (a tolerance), is_multiple_answer, answer_type, subfield, language",
        "https://github.com/OpenBMB/OlympiadBench",
        "MIT, as its authors state; the problems are those of olympiads",
        "He et al. 2024, arXiv:2402.14008",
        {"id": 1, "subfield": "Algebra", "context": None, "question": "Find all $x$ with $x^2 = 4$.", "final_answer": ["$2$,$-2$"],
         "is_multiple_answer": True, "unit": None, "answer_type": "Numerical", "error": None},
    ),
)  # fmt: skip
SVAMP = DataSet(
    name="svamp",
    verifier="number",
    read=columns.svamp,
    told=told("the final number"),
    train=(_SVAMP_HUB.format("train"),),
    held_out=(_SVAMP_HUB.format("test"),),
    names=("ID",),
    facets=("subject",),
    card=Card(
        "SVAMP",
        "Short word problems of one or two steps with numbers that are not needed. The hub's copy has 700 rows to train on and 300 "
        "held out; the authors' file of 1,000 has no splits.",
        "Body; Question; Answer; Type (the subject); ID",
        "https://github.com/arkilpatel/SVAMP",
        "MIT; made by varying ASDiv, which is CC BY-NC 4.0",
        "Patel et al. 2021, arXiv:2103.07191",
        {"ID": "chal-1", "Body": "A pack of pens costs 76 coins, less 25 today.", "Question": "What does it cost today?",
         "Equation": "( 76.0 - 25.0 )", "Answer": 51.0, "Type": "Subtraction"},
    ),
)  # fmt: skip
AQUA = DataSet(
    name="aqua",
    verifier="math",
    read=columns.aqua,
    told=told("the letter of the right option"),
    train=(_AQUA_HUB.format("train"),),
    held_out=(_AQUA_HUB.format("test"),),
    card=Card(
        "AQuA",
        "Algebra in words with five options. 97,467 rows to train on, 254 to develop with, 254 held out.",
        "question; options, with or without their letters; correct, a letter",
        "https://github.com/google-deepmind/AQuA",
        "Apache-2.0",
        "Ling et al. 2017, arXiv:1705.04146",
        {"question": "A train goes 60 km in 40 minutes. What is its speed in km/h?",
         "options": ["A)40", "B)60", "C)75", "D)90", "E)100"], "rationale": "60 / (2/3) = 90", "correct": "D"},
        "The letter or the text of the option is right. A blind guess is right for one in five.",
    ),
)  # fmt: skip
GSM_HARD = DataSet(
    name="gsm_hard",
    verifier="math",
    read=columns.gsm_hard,
    told=told("the final number"),
    held_out=("reasoning-machines/gsm-hard@train",),
    splits=("train", "train"),
    card=Card(
        "GSM-Hard",
        "The 1,319 questions of GSM8K's test split with larger numbers put in by a program; for evaluation.",
        "input; target, a float; within 0.001 of it is right, as in the paper's own code",
        "https://github.com/reasoning-machines/pal",
        "Apache-2.0; the questions derive from GSM8K, MIT",
        "Gao et al. 2022, arXiv:2211.10435",
        {
            "input": "A box holds 6 pens. How many pens are in 4933828 boxes?",
            "code": "def solution(): ...",
            "target": 29602968.0,
        },
        "Numbers were replaced blindly: 146 targets are negative and 303 no whole number, where the story asks for a count. It tests "
        "arithmetic and a verifier's reading of numbers more than reasoning.",
    ),
)
MGSM = DataSet(
    name="mgsm",
    verifier="number",
    read=columns.mgsm,
    told=lambda reference: GIVE_A_NUMBER[reference["language"]],
    held_out=tuple(f"juletxara/mgsm:{language}@test" for language in GIVE_A_NUMBER),
    facets=("language",),
    header=("question", "answer_number"),
    card=Card(
        "MGSM",
        "250 questions of GSM8K's test split in eleven languages, translated by people: bn, de, en, es, fr, ja, ru, sw, te, th, zh; "
        "for evaluation. The format of the answer is asked for in the question's language.",
        "question; answer_number; the language is in the file's name (mgsm_de.tsv), the hub's configuration, or a column language",
        "https://github.com/google-research/url-nlp",
        "CC BY-SA 4.0",
        "Shi et al. 2022, arXiv:2210.03057",
        {
            "question": "In einer Kiste sind 6 Stifte. Wie viele Stifte sind in 12 Kisten?",
            "answer_number": 72,
            "language": "de",
        },
        "A number is read as in English: 1,234.5. Digits of any script count. Whether the thought is in the language too is for a "
        "gate: see "
        "[compositions](formats-and-instructions.md#compositions).",
    ),
)
GPQA = DataSet(
    name="gpqa",
    verifier="math",
    read=columns.gpqa,
    told=told("the letter of the right option"),
    held_out=("Idavidrein/gpqa:gpqa_diamond@train#633f5ee89ab8ad4522a9f850766b73f62147ffdd",),
    splits=("train", "train"),
    names=("Record ID",),
    facets=("subject",),
    card=Card(
        "GPQA",
        "Multiple-choice questions of biology, physics and chemistry by experts; gpqa_diamond is 198 of 448 rows. For evaluation.",
        "Question; Correct Answer; Incorrect Answer 1, 2 and 3; High-level domain (the subject); Record ID",
        "https://github.com/idavidrein/gpqa",
        "CC BY 4.0; its authors ask not to publish its questions in plain text",
        "Rein et al. 2023, arXiv:2311.12022",
        {"Record ID": "rec1", "Question": "Which of these particles has no electric charge?", "Correct Answer": "the neutron",
         "Incorrect Answer 1": "the proton", "Incorrect Answer 2": "the electron", "Incorrect Answer 3": "the muon",
         "High-level domain": "Physics"},
        "The order of the options follows from the question, so it is the same in every run. On the hub it is given to those only who "
        "accept its terms; only its format was tried here.",
    ),
)  # fmt: skip

SETS: dict[str, DataSet] = {
    one.name: one
    for one in (GSM8K, MATH, MATH500, AIME24, AIME25, AMC, OLYMPIADBENCH, SVAMP, AQUA, GSM_HARD, MGSM, GPQA)
}
"""All of them, by name."""
