"""Autobahn|Python against the server at the URL of the first argument: a callee in one serialization, a caller in the
other, a subscriber each, for both serializations. Ends with 0 when all that was expected has come."""

import asyncio
import sys

from autobahn.asyncio.wamp import ApplicationSession, ApplicationRunner
from autobahn.wamp.exception import ApplicationError
from autobahn.wamp.serializer import JsonSerializer, MsgPackSerializer
from autobahn.wamp.types import CallOptions, PublishOptions, RegisterOptions, SubscribeOptions

LIMIT = 10


async def open_session(url, serializer):
    """A session that has joined, and what ends it."""
    joined = asyncio.get_running_loop().create_future()

    class Session(ApplicationSession):
        def onJoin(self, details):
            joined.set_result(self)

    runner = ApplicationRunner(url, "realm1", serializers=[serializer])
    await runner.run(Session, start_loop=False)
    return await asyncio.wait_for(joined, LIMIT)


async def converse(callee, caller, name):
    events = asyncio.Queue()

    async def add(a, b, fail=False, details=None):
        if fail:
            raise ApplicationError("com.example.failed", "no", a=a)
        if details.progress:
            for part in range(3):
                details.progress(part)
        return a + b

    async def slow():
        await asyncio.sleep(3600)

    uri = f"com.example.{name}"
    registration = await callee.register(add, f"{uri}.add", options=RegisterOptions(details_arg="details"))
    await callee.register(slow, f"{uri}.slow")
    subscribed = SubscribeOptions(details_arg="details")
    await caller.subscribe(lambda *args, details=None, **kwargs: events.put_nowait((args, kwargs)), uri, subscribed)

    assert await caller.call(f"{uri}.add", 2, 3) == 5
    assert await caller.call(f"{uri}.add", "ü", b="x") == "üx"
    parts = []
    assert await caller.call(f"{uri}.add", 1, 1, options=CallOptions(on_progress=parts.append)) == 2
    assert parts == [0, 1, 2], parts
    try:
        await caller.call(f"{uri}.add", 1, 2, fail=True)
        raise AssertionError("it has not failed")
    except ApplicationError as error:
        assert error.error == "com.example.failed" and error.args == ("no",) and error.kwargs == {"a": 1}, error
    try:
        await caller.call(f"{uri}.slow", options=CallOptions(timeout=100))
        raise AssertionError("it has come to an end")
    except ApplicationError as error:
        assert error.error == "wamp.error.timeout", error

    await callee.publish(uri, 1, [2.5], key="value", options=PublishOptions(acknowledge=True))
    assert await asyncio.wait_for(events.get(), LIMIT) == ((1, [2.5]), {"key": "value"})
    await callee.publish(uri, b"\x00\xff", options=PublishOptions(acknowledge=True))
    assert await asyncio.wait_for(events.get(), LIMIT) == ((b"\x00\xff",), {})

    lock = await callee.call("form-lock", {"form": f"{uri}.form"})
    assert lock["event"] == "locked", lock
    try:
        await caller.call("form-lock", form=f"{uri}.form")
        raise AssertionError("it is locked twice")
    except ApplicationError as error:
        assert error.args[0] == {"form": f"{uri}.form", "status": "locked"}, error
    await callee.call("form-release", {"form": f"{uri}.form"})
    await registration.unregister()


async def main(url):
    json = await open_session(url, JsonSerializer())
    packed = await open_session(url, MsgPackSerializer())
    await converse(json, packed, "json")
    await converse(packed, json, "packed")
    for session in (json, packed):
        session.leave()
        await asyncio.wait_for(session._transport.is_closed, LIMIT)
    print("autobahn-python: all as expected")


asyncio.run(main(sys.argv[1]))
