"""The HTTP side: routes, and around them what every request and answer goes through."""

import asyncio
import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from topfive.engine.serving.bodies import TYPES, JsonImages, images_of, read_body
from topfive.engine.serving.lane import Lane
from topfive.engine.serving.limits import Budget, Limits, Problem, check_origin, check_token
from topfive.engine.serving.messages import Card, Guess, Heatmap, Prediction
from topfive.engine.serving.metrics import Metrics

OPEN = ("/", "/docs", "/openapi.json", "/health", "/ready")  # without a token: they say nothing of models or images
BARE = "default-src 'none'; frame-ancestors 'none'"  # the policy of what is no page
GONE = 499  # nginx's status for a client that left; nobody receives it


class Page(msgspec.Struct, frozen=True):
    """An HTML page, and the Content-Security-Policy under which it works."""

    html: str
    policy: str


class ImageAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The likeliest classes of one image, or why there are none."""

    name: str
    top: tuple[Guess, ...] = ()
    error: str = ""
    status: int = 200
    heatmap: Heatmap | None = None
    no_heatmap: str = ""


class Answer(msgspec.Struct, frozen=True):
    """What /predict gives: an entry for each image, in order."""

    model: str
    protocol: str
    predictions: tuple[ImageAnswer, ...]
    ms: float


class ModelAnswer(msgspec.Struct, frozen=True):
    """A model as /models lists it."""

    name: str
    ready: bool
    card: Card | None


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every answer that is an error has."""

    error: str
    detail: str
    request_id: str
    limit: float | None = None


class Guard:
    """Around the application: who may ask, an identifier for each request, safe headers, and no traceback outside."""

    def __init__(self, app: ASGIApp, local: bool, token: str, metrics: Metrics) -> None:
        self.app, self.local, self.token, self.metrics = app, local, token, metrics
        self.numbers = itertools.count(1)
        self.start = f"{time.time_ns() // 1_000_000:x}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # why a copy: by its own one the server leaves the body out
        scope["request_id"] = f"{self.start}-{next(self.numbers)}"
        begun = False

        async def sent(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self.metrics.requests[message["status"]] += 1
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = scope["request_id"]
                headers["x-content-type-options"] = "nosniff"
                headers["referrer-policy"] = "no-referrer"
                headers["cache-control"] = "no-store"
                headers.setdefault("content-security-policy", BARE)
                if message["status"] in (400, 408, 413):  # why: what is left of the body is not waited for
                    headers["connection"] = "close"
            await send(message)

        try:
            headers = Headers(scope=scope)
            check_origin(headers, self.local)
            if scope["path"] not in OPEN:
                check_token(headers, self.token)
            await self.app(scope, receive, sent)
        except Problem as problem:
            await fault(problem, scope["request_id"])(scope, receive, sent)
        except Exception as error:  # why: a client never sees what went wrong inside
            print(f"topfive: request {scope['request_id']}: {type(error).__name__}: {error}", file=sys.stderr)
            if not begun:
                hidden = Problem(500, "internal error", "the server's log has more under this request's identifier")
                await fault(hidden, scope["request_id"])(scope, receive, sent)


def fault(problem: Problem, request_id: str) -> Response:
    body = msgspec.json.encode(Fault(problem.error, problem.detail, request_id, problem.limit))
    headers = {"retry-after": str(problem.again)} if problem.again else {}
    if problem.status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(body, problem.status, headers, "application/json")


def application(
    lanes: Mapping[str, Lane],
    limits: Limits,
    metrics: Metrics,
    local: bool = True,
    token: str = "",
) -> FastAPI:
    """The application, without its pages."""
    app = FastAPI(title="topfive", version="1", docs_url=None, redoc_url=None, description="Classify images.")
    budget = Budget(limits.bodies)
    app.add_middleware(Guard, local=local, token=token, metrics=metrics)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)

    @app.post("/predict", **_predict_documentation())
    async def predict(
        request: Request,
        model: str = Query(next(iter(lanes)), description="Which model, by its name in /models"),
        top: int = Query(5, ge=1, le=1000, description="How many classes to give"),
        heatmap: bool = Query(
            False, description="Whether to give a heat map of the likeliest class too, which takes time"
        ),
    ) -> Response:
        began = time.perf_counter()
        if model not in lanes:
            raise Problem(404, "unknown model", f"there is no model {model[:80]!r}; there are {', '.join(lanes)}")
        lane = lanes[model]
        body = await read_body(request, limits, budget)
        size = len(body)
        try:
            images = images_of(body, request.headers.get("content-type", ""), limits)
            del body
            found = await _unless_gone(request, lane, images, top, heatmap)
        finally:
            budget.give(size)
        if found is None:
            return Response(status_code=GONE)
        seconds = time.perf_counter() - began
        metrics.seconds.add(seconds)
        return _answer(lane, [name for name, _ in images], found, seconds)

    @app.get("/models", summary="The models, with their cards", response_model=None)
    async def models() -> Response:
        listed = [ModelAnswer(lane.name, lane.ready, lane.card) for lane in lanes.values()]
        return _json(listed)

    @app.get("/health", summary="Whether the server is alive", response_model=None)
    async def health() -> Response:
        return _json({"status": "alive"})

    @app.get("/ready", summary="Whether every model answers", response_model=None)
    async def ready() -> Response:
        if down := [lane.why_down for lane in lanes.values() if not lane.ready]:
            raise Problem(503, "not ready", down[0], again=1)
        return _json({"status": "ready"})

    @app.get("/metrics", summary="Counters, as Prometheus reads them", response_model=None)
    async def counters() -> Response:
        waiting = [(lane.name, lane.batcher.held, lane.ready) for lane in lanes.values()]
        return Response(metrics.text(waiting), media_type="text/plain; version=0.0.4")

    return app


async def _unless_gone(
    request: Request, lane: Lane, images: Sequence[tuple[str, bytes]], top: int, heatmap: bool
) -> list[Prediction] | None:
    """The predictions; None, and nothing more is done for them, where the client leaves before."""
    work = asyncio.ensure_future(lane.predict(images, top, heatmap))
    gone = asyncio.ensure_future(request.receive())  # after the body that is the client's leaving
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await work if work.done() else None
    finally:
        for task in (work, gone):
            task.cancel()


def _answer(lane: Lane, names: Sequence[str], found: Sequence[Prediction], seconds: float) -> Response:
    entries = tuple(
        ImageAnswer(name, one.top, one.error, one.status, one.heatmap, one.no_heatmap)
        for name, one in zip(names, found)
    )
    status = 200 if any(one.status == 200 for one in found) else found[0].status
    protocol = lane.card.protocol if lane.card else ""
    response = _json(Answer(lane.name, protocol, entries, round(1e3 * seconds, 3)), status)
    if status == 503:
        response.headers["retry-after"] = "1"
    return response


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def add_page(app: FastAPI, path: str, page: Page) -> None:
    @app.get(path, include_in_schema=False, response_model=None)
    async def route() -> Response:
        return Response(page.html, headers={"content-security-policy": page.policy}, media_type="text/html")


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return fault(error, request.scope["request_id"])


async def _http(request: Request, error: Exception) -> Response:
    """No such path, or another method."""
    assert isinstance(error, HTTPException)
    phrase = HTTPStatus(error.status_code).phrase.lower()
    response = fault(Problem(error.status_code, phrase, "/docs lists what there is"), request.scope["request_id"])
    response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    what = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
    return fault(Problem(422, "bad argument", what), request.scope["request_id"])


def _predict_documentation() -> dict[str, object]:
    """What FastAPI is told of /predict, whose body and answers it does not handle itself."""
    summary = "The likeliest classes of one or many images"
    return {"summary": summary, "openapi_extra": _body_schema(), "response_model": None, "responses": _responses()}


def _body_schema() -> dict[str, object]:
    one = {"schema": {"type": "string", "format": "binary"}}
    form = {"type": "object", "properties": {"images": {"type": "array", "items": one["schema"]}}}
    content = {
        "image/*": one,
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": _schema(JsonImages)},
    }
    return {"requestBody": {"required": True, "description": TYPES, "content": content}}


def _responses() -> dict[int | str, dict[str, object]]:
    told = {
        200: "An entry for each image; those that cannot be read have an error instead of classes",
        400: "No image can be read", 401: "A token is needed", 404: "There is no such model",
        408: "The body came too slowly", 413: "Too many bytes, pixels or images", 415: "Not an image that is read",
        422: "A bad argument", 429: "The queue is full; Retry-After says when to come back",
        503: "The model is not ready, or its process ended with this image", 504: "It took too long",
    }  # fmt: skip
    schema = {200: Answer}
    return {
        status: {
            "description": text,
            "content": {"application/json": {"schema": _schema(schema.get(status, Fault))}},
        }
        for status, text in told.items()
    }


def _schema(kind: type) -> dict[str, object]:
    """The JSON schema of a record, with what it refers to inside of it."""
    (schema,), components = msgspec.json.schema_components([kind], ref_template="{name}")

    def whole(value: object) -> object:
        if isinstance(value, dict):
            return whole(components[value["$ref"]]) if "$ref" in value else {k: whole(v) for k, v in value.items()}
        return [whole(one) for one in value] if isinstance(value, list) else value

    found = whole(schema)
    assert isinstance(found, dict)
    return found
