"""The form that adds an entry: its one-time key, its values as typed, what is wrong with them."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

# The ledger's own limits, checked here too, so that a mistake is shown beside its field. The API
# has the last word.
ACCOUNT = re.compile(r"[A-Za-z0-9._-]{1,64}")
ACCOUNT_RULE = "Use 1 to 64 letters, digits, dots, dashes or underscores, without spaces."
LARGEST_AMOUNT = 10**12
LONGEST_MEMO = 500
KEY = re.compile(r"[A-Za-z0-9._:~+/=@-]{1,255}")
INTEGER = re.compile(r"[+-]?[0-9]{1,15}")


def new_key() -> str:
    """A key for one form: however often that form is sent, one entry is added."""
    return f"form-{secrets.token_urlsafe(18)}"


@dataclass
class EntryForm:
    """The form as the visitor filled it in; `errors` says, by field name, what is wrong with it."""

    key: str = field(default_factory=new_key)
    account: str = ""
    amount: str = ""
    memo: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def sent(cls, fields: Mapping[str, str], key: str) -> "EntryForm":
        """The form that was sent, checked."""
        form = cls(
            key=key,
            account=fields.get("account", "").strip(),
            amount=fields.get("amount", "").strip(),
            # A browser sends line ends as CRLF and counts them as one character.
            memo=fields.get("memo", "").strip().replace("\r\n", "\n"),
        )
        form.check()
        return form

    def check(self) -> None:
        """Fill `errors`."""
        if not ACCOUNT.fullmatch(self.account):
            self.errors["account"] = ACCOUNT_RULE
        if not INTEGER.fullmatch(self.amount) or abs(int(self.amount)) > LARGEST_AMOUNT:
            self.errors["amount"] = (
                f"Use a whole number from -{LARGEST_AMOUNT:,} to {LARGEST_AMOUNT:,}, "
                "without spaces or separators."
            )
        if len(self.memo) > LONGEST_MEMO:
            self.errors["memo"] = (
                f"Use at most {LONGEST_MEMO} characters; these are {len(self.memo)}."
            )
