"""Which language is a text in, as far as its script and its commonest words tell? Not for short texts or mixed dialects.

The script decides alone where one language of the list has it (Korean, Thai, Greek, ...). Where several share a script, the commonest
words do: for each language about twenty that the others seldom use. So there are three answers: yes, no, and unclear (too few words,
or words that are no language's). Code, formulas, numbers and tags are left out first: they have no language. What cannot be told
this way: close relatives in a short text, dialects, a text that mixes languages of one script evenly.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

Evidence = Literal["yes", "no", "unclear"]

FEW_LETTERS = 20
"""Below this many letters nothing is said, unless none is in the script."""
OWN_SHARE = 0.85
"""The least share of the letters that must be in the language's script; the rest is room for names and terms."""
_HITS = 3  # common words another language needs, and twice as many as ours, to be taken for the one

_RANGES: tuple[tuple[str, str, str], ...] = (
    ("latin", "A", "ɏ"),
    ("greek", "Ͱ", "Ͽ"),
    ("cyrillic", "Ѐ", "ԯ"),
    ("armenian", "԰", "֏"),
    ("hebrew", "֐", "׿"),
    ("arabic", "؀", "ۿ"),
    ("devanagari", "ऀ", "ॿ"),
    ("bengali", "ঀ", "৿"),
    ("gurmukhi", "਀", "੿"),
    ("gujarati", "઀", "૿"),
    ("tamil", "஀", "௿"),
    ("telugu", "ఀ", "౿"),
    ("kannada", "ಀ", "೿"),
    ("malayalam", "ഀ", "ൿ"),
    ("thai", "฀", "๿"),
    ("georgian", "Ⴀ", "ჿ"),
    ("hangul", "ᄀ", "ᇿ"),
    ("latin", "Ḁ", "ỿ"),
    ("kana", "぀", "ヿ"),
    ("han", "㐀", "鿿"),
    ("hangul", "가", "힣"),
)

_ALONE = (
    "el greek, hy armenian, he hebrew, bn bengali, pa gurmukhi, gu gujarati, ta tamil, te telugu, kn kannada, ml malayalam, "
    "th thai, ka georgian, ko hangul, ja kana, zh han"
)
_OWN_SCRIPT: dict[str, str] = {pair[:2]: pair[3:] for pair in _ALONE.split(", ")}
_SCRIPTS: dict[str, str] = {
    **_OWN_SCRIPT,
    **dict.fromkeys(("ru", "uk", "bg"), "cyrillic"),
    **dict.fromkeys(("ar", "fa", "ur"), "arabic"),
    **dict.fromkeys(("hi", "mr", "ne"), "devanagari"),
    **dict.fromkeys(("en", "de", "fr", "es", "it", "pt", "nl", "sv", "fi", "pl", "tr", "vi", "id", "sw"), "latin"),
}

_COMMON: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to is that it for was with as be this have from which are we so if then but by not you what can",
        "de": "der die das und ist nicht ein eine ich wir mit auf für sich den dem von zu auch es aber wenn dann werden sind also",
        "fr": "le la les des et est une dans que qui pour pas sur avec nous vous il elle mais donc ce cette sont du au alors",
        "es": "el los las y es una que de en por para con no se lo como más pero entonces son está si del al hay porque",
        "it": "il gli e è una che di per non con sono della nel come più ma quindi questo questa se anche dei alla abbiamo",
        "pt": "o os as e é um uma que de em para não com se por mais mas então são está do da no na isso você temos",
        "nl": "de het een en is van dat niet op te zijn met voor we ik aan maar dan ook als wordt dus er bij naar",
        "sv": "och att det är en ett som på för av med den inte till har om vi jag men så kan också eller från",
        "fi": "ja on ei se että hän oli mutta myös kun niin kuin tai ovat olen tämä sitten jos voi mitä koska nyt me minä",
        "pl": "i w na nie się to jest że do z jak ale po co tak od przez oraz więc być są dla czy które mamy tego",
        "tr": "ve bir bu da de için ile ne çok var olarak daha ama gibi mi en o olan sonra kadar değil ben biz şu",
        "vi": "và là của một có không được cho trong với này người các những đã tôi chúng ta thì để khi nếu từ số bằng",
        "id": "dan yang di ini itu dengan untuk dari tidak adalah pada akan ke kita saya atau juga karena jika maka dalam bisa",
        "sw": "na ya wa ni kwa katika hii hiyo la za kuwa si au pia lakini hivyo yake watu kama sana mimi sisi hadi kila",
        "ru": "и в не на что я с как это по но он она мы из за для то же все так если или быть есть чтобы",
        "uk": "і та в не на що я з як це але ми він вона із за для те ж усі так якщо або бути є щоб від",
        "bg": "и в не на че аз с как това по но той тя ние от за да са се е ще ли тези или към който",
        "ar": "في من على أن إلى هذا هذه التي الذي كان لا ما مع عن هو هي كل إذا ثم أو لكن قد",
        "fa": "و در به از که این را با است برای آن یک می ما هم اگر تا شود باشد پس یا خود دارد",
        "ur": "اور میں کے کی ہے کا سے کو نے یہ پر ہیں وہ نہیں ایک بھی ہم تو اگر جو تھا کر",
        "hi": "है और के में की का को से यह पर हैं नहीं एक भी हम तो अगर जो था कि लिए इस",
        "mr": "आहे आणि च्या मध्ये हे ते या तो ती नाही एक पण आम्ही तर जर होते साठी की आहेत काय मी",
        "ne": "छ र को मा यो हो छन् पनि गर्न लागि हामी त्यो तर यदि भने थियो एक छैन म गरेको के",
    }.items()
}

LANGUAGES: tuple[str, ...] = tuple(sorted(_SCRIPTS))
"""ISO 639-1 codes of the languages that are known."""

_FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_LEFT_OUT = re.compile(r"`[^`\n]*`|\$[^$\n]{0,400}\$|\\[A-Za-z]+|</?[a-z_]+>|https?://\S+")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def evidence(text: str, language: str) -> tuple[Evidence, str]:
    """Whether a text is in a language, and why that is thought. Raises ValueError for a language that is not in LANGUAGES.

    >>> evidence("Zuerst addieren wir die Zahlen, dann ist das Ergebnis nicht mehr weit.", "de")[0]
    'yes'
    """
    if language not in _SCRIPTS:
        raise ValueError(f"unknown language {language!r}: choose one of {', '.join(LANGUAGES)}")
    plain = _LEFT_OUT.sub(" ", _FENCED.sub(" ", text))
    scripts = _letters(plain)
    count = sum(scripts.values())
    own = _own(scripts, language)
    if count == 0:
        return "unclear", "there are no words in it"
    if own < OWN_SHARE * count and (count >= FEW_LETTERS or not own):
        return "no", f"{1 - own / count:.0%} of its letters are not of the script of {language!r}"
    if count < FEW_LETTERS:
        return "unclear", f"it has only {count} letters"
    if language not in _COMMON:
        return "yes", f"its letters are those of {language!r}"
    return _by_words(plain, language)


def _by_words(plain: str, language: str) -> tuple[Evidence, str]:
    words = Counter(word.casefold().replace("’", "'") for word in _WORD.findall(plain))
    rivals = [one for one in _COMMON if _SCRIPTS[one] == _SCRIPTS[language]]
    hits = {one: sum(count for word, count in words.items() if word in _COMMON[one]) for one in rivals}
    best = max(rivals, key=lambda one: (hits[one], one == language))
    if best == language and hits[language]:
        return "yes", f"{hits[language]} of its words are common ones of {language!r}"
    if hits[best] >= _HITS and hits[best] >= 2 * hits[language]:
        return "no", f"{hits[best]} of its words are common ones of {best!r}, {hits[language]} of {language!r}"
    return "unclear", f"too few of its words are common ones of {language!r} or another language"


def _letters(plain: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for character, count in Counter(plain).items():
        if character.isalpha():
            script = next((name for name, low, high in _RANGES if low <= character <= high), "other")
            found[script] += count
    return found


def _own(scripts: Counter[str], language: str) -> int:
    """Letters of the language's script. Japanese needs kana, and Chinese may have nearly none."""
    if language == "ja":
        return scripts["kana"] + scripts["han"] if 5 * scripts["kana"] >= scripts["han"] else 0
    if language == "zh":
        return scripts["han"] if 10 * scripts["kana"] <= scripts["han"] else 0
    return scripts[_SCRIPTS[language]]
