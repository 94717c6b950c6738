"""The format of an answer, asked for in the languages of MGSM. Not for telling languages apart (burnish.verify.language)."""

from __future__ import annotations

GIVE_A_NUMBER: dict[str, str] = {
    "bn": "<think> এবং </think> এর মধ্যে ধাপে ধাপে চিন্তা করো, তারপর <answer> এবং </answer> এর মধ্যে চূড়ান্ত সংখ্যাটি লেখো।",
    "de": "Überlege Schritt für Schritt zwischen <think> und </think>, dann gib die endgültige Zahl zwischen <answer> und </answer> an.",
    "en": "Reason step by step between <think> and </think>, then give the final number between <answer> and </answer>.",
    "es": "Razona paso a paso entre <think> y </think>, y después da el número final entre <answer> y </answer>.",
    "fr": "Raisonne étape par étape entre <think> et </think>, puis donne le nombre final entre <answer> et </answer>.",
    "ja": "<think> と </think> の間で段階的に考え、その後 <answer> と </answer> の間に最終的な数を書いてください。",
    "ru": "Рассуждай шаг за шагом между <think> и </think>, затем напиши итоговое число между <answer> и </answer>.",
    "sw": "Fikiri hatua kwa hatua kati ya <think> na </think>, kisha toa nambari ya mwisho kati ya <answer> na </answer>.",
    "te": "<think> మరియు </think> మధ్య దశల వారీగా ఆలోచించండి, తరువాత <answer> మరియు </answer> మధ్య తుది సంఖ్యను ఇవ్వండి.",
    "th": "คิดทีละขั้นตอนระหว่าง <think> และ </think> จากนั้นให้ตัวเลขสุดท้ายระหว่าง <answer> และ </answer>",
    "zh": "请在 <think> 和 </think> 之间逐步思考,然后在 <answer> 和 </answer> 之间给出最终的数字。",
}
"""Language (ISO 639-1) -> "Reason step by step between <think> and </think>, then give the final number between ..."."""
