"""The names that the grammar knows: commands, functions, constants, brackets, and words that are no variables."""

from __future__ import annotations

from burnish.verify.maths.tree import names

RELATIONS = {"=": "=", "<": "<", ">": ">", "\\le": "<=", "\\ge": ">=", "\\ne": "!=", "\\approx": "~", "\\equiv": "="}
SETS = {"\\cup": "cup", "\\cap": "cap", "\\setminus": "minus"}
CLOSERS = {"(": (")", "]"), "[": ("]", ")"), "\\{": ("\\}",), "{": ("}",), "\\langle": ("\\rangle",)}
FUNCTIONS = frozenset(
    names(
        "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth ln log lg exp sqrt cbrt abs floor ceil gcd lcm max min "
        "det factorial asin acos atan sgn sign mod cis"
    )
)
SAME = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "sign": "sgn", "arcsinh": "asinh", "ceiling": "ceil"}
INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
GREEK = frozenset(
    names(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau upsilon phi "
        "varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
    )
)
NAMES = GREEK | {"angle", "triangle", "mho", "aleph", "square"}
CONSTANTS = {"\\pi": "pi", "\\infty": "inf", "\\infinity": "inf", "\\imath": "i"}
WORD_CONSTANTS = {"pi": "pi", "infinity": "inf", "inf": "inf", "infty": "inf", "oo": "inf"}
MATRICES = frozenset(("matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "Vmatrix", "smallmatrix", "array"))
UNSUPPORTED = frozenset(
    names(
        r"\int \iint \iiint \oint \lim \limsup \liminf \partial \nabla \prime \mathcal \forall \exists \cong \perp \parallel"
    )
)
UNIT_LIKE = frozenset(
    names(
        "cm mm km dm nm ft in yd mi kg mg lb lbs oz ml mL cl dl kL ms min sec hr hrs mph kph rad deg Hz kHz kW Pa kPa kJ eV mol Nm pm am"
    )
)
NOT_LETTERS = frozenset(
    names("and or is to of for if all no not yes nan none true the at by as we it so how any ans lambda")
)
