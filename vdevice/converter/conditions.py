"""When a rule fires: its condition, and its trigger."""

from vdevice.config.schema import Rule, When
from vdevice.converter.values import Value, to_bool


def holds(when: When | None, value: Value, *, held: bool) -> bool:
    """Tell whether a condition holds; `held` is whether it did before, which hysteresis asks for. None: the value as a bool."""
    if when is None:
        return to_bool(value)
    if when.equals is not None and value != when.equals:
        return False
    if when.not_equals is not None and value == when.not_equals:
        return False
    if isinstance(value, str):
        return True
    slack = when.hysteresis if held else 0.0
    above = when.above is None or value > when.above - slack
    return above and (when.below is None or value < when.below + slack)


def why_not(rule: Rule, value: Value, before: Value, *, held: bool, holds_now: bool) -> str:
    """Return why a rule does not fire, or nothing."""
    match rule.trigger:
        case "rising":
            return "" if holds_now and not held else "it did not begin to hold"
        case "falling":
            return "" if held and not holds_now else "it did not cease to hold"
    if rule.when is not None and not holds_now:
        return "its condition does not hold"
    return "the value did not change" if rule.trigger == "change" and value == before else ""
