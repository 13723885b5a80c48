"""The check digits of identity numbers, companies, cards, accounts and wallets: each a pure function of a string.

>>> luhn_holds("4111111111111111"), identity_check("11010519491231002"), mod97("GB82WEST12345698765432")
(True, 'X', 1)
"""

from __future__ import annotations

import hashlib

_IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
CREDIT_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BECH32_ENDS = (1, 0x2BC830A3)


def luhn_holds(digits: str) -> bool:
    """Whether the sum of ISO/IEC 7812 is a multiple of ten."""
    doubled = (int(d) * (2 if place % 2 else 1) for place, d in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def luhn_check(digits: str) -> str:
    """The digit that makes the sum hold when it is put at the end."""
    return next(check for check in "0123456789" if luhn_holds(digits + check))


def identity_check(first_17: str) -> str:
    """The last character of a Chinese identity number. Source: GB 11643-1999."""
    total = sum(weight * int(digit) for weight, digit in zip(_IDENTITY_WEIGHTS, first_17, strict=True))
    return "10X98765432"[total % 11]


def credit_check(first_17: str) -> str:
    """The last character of a unified social credit code. Source: GB 32100-2015."""
    total = sum(w * CREDIT_ALPHABET.index(c) for w, c in zip(_CREDIT_WEIGHTS, first_17, strict=True))
    return CREDIT_ALPHABET[-total % 31]


def mod97(account: str) -> int:
    """The remainder of ISO 7064 over an account number: one if it is right."""
    return int("".join(str(int(c, 36)) for c in account[4:] + account[:4])) % 97


def base58_holds(address: str) -> bool:
    """Whether the last four bytes are the double SHA-256 of those before, as in old Bitcoin addresses."""
    number = 0
    for character in address:
        number = number * 58 + _BASE58.index(character)
    if number >= 1 << 200:
        return False
    payload = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(payload[:21]).digest()).digest()[:4] == payload[21:]


def bech32_holds(address: str) -> bool:
    """Whether the six last characters fit the rest. Source: BIP 173 and, for the second constant, BIP 350."""
    prefix, _, data = address.lower().rpartition("1")
    if not prefix or any(c not in _BECH32 for c in data):
        return False
    values = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + [_BECH32.index(c) for c in data]
    state = 1
    for value in values:
        top, state = state >> 25, (state & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_BECH32_GENERATOR):
            state ^= generator if top >> bit & 1 else 0
    return state in _BECH32_ENDS
