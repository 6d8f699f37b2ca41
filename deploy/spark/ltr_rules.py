"""By which rules actions become labels, which days' files a day's matrix needs, and how a command line says so."""

import argparse
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta

from ltr_lake import RawFile

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROS_AN_HOUR = 3_600_000_000
MICROS_A_DAY = 24 * MICROS_AN_HOUR
# Which impression an action counts for.
ATTRIBUTIONS = ("first_impression", "last_touch")

Files = dict[tuple[str, date], list[RawFile]]


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def start_us(day: date) -> int:
    """The first microsecond of a day, in UTC."""
    return (day - EPOCH.date()).days * MICROS_A_DAY


@dataclass(frozen=True)
class Rules:
    """The attribution windows, in hours, the impression that counts, and for how many days a case is one query."""

    click_hours: int = 24
    contact_hours: int = 72
    contract_hours: int = 168
    attribution: str = ATTRIBUTIONS[0]
    case_days: int = 30

    def windows(self) -> list[tuple[str, int, int]]:
        """Event, grade and window in microseconds of each kind of action."""
        hours = {
            "click_profile": self.click_hours,
            "contact_made": self.contact_hours,
            "contract_signed": self.contract_hours,
        }
        return [(event, grade, hours[event] * MICROS_AN_HOUR) for grade, event in enumerate(hours, start=1)]

    @property
    def longest_us(self) -> int:
        """The longest window."""
        return max(window for _, _, window in self.windows())

    @property
    def is_last_touch(self) -> bool:
        return self.attribution == "last_touch"

    @property
    def closed_us(self) -> int:
        """How long after its first impression a case's labels can change."""
        return self.longest_us * (2 if self.is_last_touch else 1)

    @property
    def days_shown(self) -> int:
        """Days behind a case's own whose impressions may be the case's."""
        return -(-self.longest_us // MICROS_A_DAY)

    @property
    def days_closed(self) -> int:
        """Days behind a case's own whose actions may count for it."""
        return -(-self.closed_us // MICROS_A_DAY)

    def sources(self, day: date) -> dict[str, tuple[date, date]]:
        """The first and the last day of the events that a day's matrix is made from, for each table."""
        shown = shifted(day, self.days_shown)
        return {
            "impressions": (shifted(day, -self.case_days), shown),
            "impression_lawyers": (day, shown),
            # An action may be dated before the impression that it follows, by a clock that is wrong.
            "actions": (shifted(day, -1), shifted(day, self.days_closed)),
        }


def shifted(day: date, days: int) -> date:
    """So many days later, within the calendar."""
    try:
        return day + timedelta(days)
    except OverflowError:
        return date.max if days > 0 else date.min


def between(files: Files, table: str, first: date, last: date) -> list[RawFile]:
    """The files of a table from the first to the last day, both included."""
    return [file for (name, day), some in files.items() if name == table and first <= day <= last for file in some]


def days(files: Files, args: argparse.Namespace) -> list[date]:
    """The days with impressions that the command line asks for, the oldest first."""
    until = micros(args.as_of)
    known = [day for table, day in files if table == "impressions" and start_us(day) < until]
    return sorted(day for day in known if args.first <= day <= args.last)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What every maker of matrices is told: the lake, the days, the time and the rules."""
    add = parser.add_argument
    add("--lake", required=True, metavar="DIR|URL", help="the lake: a folder, or s3://bucket/prefix")
    add(
        "--from",
        dest="first",
        type=_day,
        metavar="YYYY-MM-DD",
        help="only cases first shown on this day or later (UTC)",
    )
    add("--to", dest="last", type=_day, metavar="YYYY-MM-DD", help="only cases first shown on this day or before (UTC)")
    add("--day", type=_day, metavar="YYYY-MM-DD", help="only cases first shown on this day (UTC)")
    add(
        "--as-of",
        type=_time,
        metavar="TIME",
        help="time that counts as now (RFC 3339); windows ending later are open; default: the current time",
    )
    plain = Rules()
    for name, most, meaning in [
        ("click_hours", 8_760, "attribution window of an opened profile, in hours"),
        ("contact_hours", 8_760, "attribution window of a chat or call, in hours"),
        ("contract_hours", 8_760, "attribution window of a contract, in hours"),
        ("case_days", 3_650, "a case that is shown again within this many days is the same query"),
    ]:
        add(
            f"--{name.replace('_', '-')}",
            type=_whole(most),
            default=getattr(plain, name),
            metavar="N",
            help=f"{meaning}; default: {getattr(plain, name)}",
        )
    add(
        "--attribution",
        choices=ATTRIBUTIONS,
        default=plain.attribution,
        help="which impression an action counts for: the case's first one, or the latest before it that it fits; "
        f"default: {plain.attribution}",
    )


def checked(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """The arguments with every default filled in; those that contradict each other end the program."""
    if args.day and (args.first or args.last):
        parser.error("--day cannot be used with --from or --to")
    args.first = args.day or args.first or date.min
    args.last = args.day or args.last or date.max
    if args.first > args.last:
        parser.error(f"--from {args.first} is after --to {args.last}")
    args.as_of = args.as_of or datetime.now(UTC)
    args.rules = Rules(**{field.name: getattr(args, field.name) for field in fields(Rules)})
    return args


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no day; allowed: YYYY-MM-DD") from None


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; allowed: RFC 3339, as in 2026-11-09T02:15:00Z")
    return time.astimezone(UTC)


def _whole(most: int):
    def whole(text: str) -> int:
        if text.isascii() and text.isdigit() and 1 <= int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: a whole number from 1 to {most}")

    return whole
