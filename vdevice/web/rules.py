"""Handlers of the converter: points with their values, rules, and what would happen if."""

from vdevice.config import Config
from vdevice.config.edit import tag_of
from vdevice.config.edit_rules import moved, with_enabled, with_rule
from vdevice.config.load import shaped
from vdevice.config.ownership import Settings
from vdevice.converter import points
from vdevice.converter.change import Origin
from vdevice.converter.image import Image
from vdevice.converter.rules import Converter as Rules
from vdevice.converter.values import to_text
from vdevice.errors import ConversionError
from vdevice.web.call import ApiError, Call
from vdevice.web.saving import save_text
from vdevice.web.views import Converter, Doubt, PointRow, RuleEdit, RuleMove, RuleRow, RuleSwitch, Saved, Write
from vdevice.webhooks import warnings


async def read(call: Call) -> Converter:
    """Return the points with their live values, and the tree of rules."""
    _, text = await call.file()
    found = shaped(text).get("rules", [])
    rows = [_rule(rule, [index]) for index, rule in enumerate(found)]
    doubts = [Doubt(one.path, one.message) for one in warnings.of_rules(call.device.config)]
    return Converter(tag_of(text), _points(call.device.config, call.device.unit.writes.image), rows, doubts)


def _points(config: Config, image: Image) -> list[PointRow]:
    rows = []
    for point in config.points:
        try:
            value = to_text(image.value(point))
        except ConversionError as error:
            value = str(error)
        rows.append(PointRow(point.name, point.space, point.address, point.type, point.unit, point.description, value))
    return rows


def _rule(rule: Settings, place: list[int]) -> RuleRow:
    inner = [_rule(one, [*place, index]) for index, one in enumerate(rule.get("rules", []))]
    settings = {key: value for key, value in rule.items() if key != "rules"}
    return RuleRow(place, bool(rule.get("enabled", True)), settings, inner)


async def edit(call: Call) -> Saved:
    """Save a rule or folder, add or remove it; the file keeps its comments and order."""
    given = call.take(RuleEdit)
    return await save_text(call, given.tag, "rule saved", lambda text: with_rule(text, given.place, given.settings))


async def move(call: Call) -> Saved:
    """Move a rule or folder among its neighbours: rules work from top to bottom."""
    given = call.take(RuleMove)
    return await save_text(call, given.tag, "rule moved", lambda text: moved(text, given.place, given.by))


async def switch(call: Call) -> Saved:
    """Switch a rule, or a folder with all below it, on or off."""
    given = call.take(RuleSwitch)
    return await save_text(
        call, given.tag, "rule switched", lambda text: with_enabled(text, given.place, enabled=given.enabled)
    )


async def what_if(call: Call) -> list[str]:
    """Return what would happen if a point became a value, rule by rule, from an image of zeros; nothing is sent."""
    value, name = call.take(Write).value, call.match["name"]
    point = next((point for point in call.device.config.points if point.name == name), None)
    if point is None:
        raise ApiError(404, f"there is no point {name!r}")
    rules = Rules(call.device.config, explain=True)
    try:
        data = points.encode(point, value, rules.image.read(point.space, point.address, point.count))
    except ConversionError as error:
        raise ApiError(422, str(error)) from None
    change = rules.write(point.space, point.address, data, Origin(call.address, "page", 0.0, 0.0))
    steps = change.steps if change else []
    return [f"{step.name}: {step.destination} {step.text or step.reason}".strip() for step in steps]
