"""The OpenAPI document, made from the table of routes and the structs that it names, so that it cannot differ from them."""

import functools
import re
from typing import Any, BinaryIO

import msgspec

from vdevice import __version__
from vdevice.sheets import FORMATS
from vdevice.web.routes import OWN_HEADER, ROUTES, SAFE, Route
from vdevice.web.views import Login, Problem, Session

_PARAMETERS = {
    "number": {"type": "integer", "minimum": 1, "maximum": 64},
    "target": {"type": "integer", "minimum": 0, "maximum": 64},
    "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "address": {"type": "integer", "minimum": 0, "maximum": 65_535},
    "count": {"type": "integer", "minimum": 1, "maximum": 1000},
    "space": {"type": "string", "enum": ["holding", "input"]},
    "state": {"type": "string", "maxLength": 60},
    "text": {"type": "string", "maxLength": 200},
    "tag": {"type": "string", "maxLength": 32},
    "name": {"type": "string", "minLength": 1, "maxLength": 64},
    "id": {"type": "string", "minLength": 32, "maxLength": 32},
    "form": {"type": "string", "enum": list(FORMATS)},
}
_TEMPLATE = "#/components/schemas/{name}"


@functools.cache
def encoded() -> bytes:
    """Return the document as JSON, made when somebody asks for it first."""
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    """Return the document (OpenAPI 3.1)."""
    kinds = {kind for route in ROUTES for kind in (route.answer, route.body) if kind not in {None, BinaryIO}}
    kinds |= {Problem, Login, Session}
    ordered = sorted(kinds, key=str)
    schemas, components = msgspec.json.schema_components(ordered, ref_template=_TEMPLATE)
    schema_of = dict(zip(ordered, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schema_of)
    paths["/login"] = {"post": _login(schema_of)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vdevice", "version": __version__, "description": "A virtual Modbus/TCP device."},
        "servers": [{"url": "."}],
        "security": [{"session": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "vdevice"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    words = " ".join((route.handler.__doc__ or "").split())
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _PARAMETERS.get(name, {"type": "string", "minLength": 1}),
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": _PARAMETERS.get(name, {"type": "string"})}
        for name in route.query
    ]
    if route.method not in SAFE and not route.body:
        own = {"type": "string", "enum": ["1"]}
        parameters.append({"name": OWN_HEADER, "in": "header", "required": True, "schema": own})
    content = (
        {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
        if route.answer is BinaryIO
        else _json(schema_of[route.answer])
    )
    operation = {
        "summary": words,
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}_{route.handler.__name__}",
        "parameters": parameters,
        "responses": {"200": {"description": "done", "content": content}, "default": _problem(schema_of)},
        "x-needs": route.needs,
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _json(schema_of[route.body])}
    return operation


def _login(schema_of: dict[Any, Any]) -> dict[str, Any]:
    return {
        "summary": "Sign in; the answer sets the session's cookie.",
        "operationId": "login",
        "security": [],
        "requestBody": {"required": True, "content": _json(schema_of[Login])},
        "responses": {
            "200": {"description": "done", "content": _json(schema_of[Session])},
            "default": _problem(schema_of),
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _problem(schema_of: dict[Any, Any]) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": schema_of[Problem]}}
    return {"description": "a problem (RFC 9457)", "content": content}
