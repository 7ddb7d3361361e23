"""Drives `penpal mcp` with the public `mcp` package, a client that shares no code with penpal.

Usage: python client.py PATH_TO_PENPAL

One home, two servers in two working folders, `api` and `web`: two sessions of one person that write to
each other. The package checks every result against the revision that was agreed on and, where a tool
declares an output schema, against that schema; it raises when one does not fit, which fails the run.

Prints one line per check, then `N passed, 0 failed`. The first failure ends the run with exit code 1;
wrong usage ends it with 2.
"""

import os
import re
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import mcp
from mcp import types

# The revisions in which a connection begins with `initialize`.
REVISIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
# Each tool, and whether it leaves the session and its correspondents as they were.
TOOLS = {"sessions": True, "send": False, "inbox": False, "wait": False, "search": True, "rooms": False, "set_summary": False, "put_artifact": False, "get_artifact": False}
# Longer than any wait that is asked for below, so that it ends only a run that hangs.
ANSWER_SECONDS = 60
RUN_SECONDS = 180


class CheckFailed(Exception):
    """A check did not hold; the message names it and what was seen instead."""


class Checks:
    """Prints each check as it passes, and counts them."""

    def __init__(self):
        self.passed = 0

    def that(self, name, holds, seen=None):
        """Counts a check that holds, and ends the run at one that does not."""
        if not holds:
            raise CheckFailed(f"{name}; seen: {seen!r}")
        self.passed += 1
        print(f"ok   {name}", flush=True)


class Penpal:
    """The program under test, its home, and the folders in which agents work."""

    def __init__(self, program, root):
        self.program = program
        self.root = root
        # An agent that started this run, or a home that its user has, must not be found: nothing else
        # is inherited, and both homes are temporary.
        self.environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(root),
            "PENPAL_HOME": str(root / "penpal"),
        }

    def folder(self, name):
        """A working folder; a session is named after it."""
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, *arguments):
        """Runs one command to its end."""
        return subprocess.run(
            [self.program, *arguments],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )

    @asynccontextmanager
    async def server(self, folder):
        """Starts a server in `folder` and gives a connection that said nothing yet."""
        parameters = mcp.StdioServerParameters(
            command=self.program, args=["mcp"], env=self.environment, cwd=self.folder(folder)
        )

        async def refuse_noise(message):
            # A line that is not a message arrives here as an exception: standard output carries
            # the protocol and nothing else.
            if isinstance(message, Exception):
                raise CheckFailed(f"{folder}: a line on standard output is no message: {message}")

        async with mcp.stdio_client(parameters) as (read, write):
            async with mcp.ClientSession(
                read, write, read_timeout_seconds=ANSWER_SECONDS, message_handler=refuse_noise
            ) as session:
                yield session


async def offer(session, revision):
    """Initializes with a chosen revision; `ClientSession.initialize` always offers the newest."""
    result = await session.send_request(
        types.InitializeRequest(
            params=types.InitializeRequestParams(
                protocol_version=revision,
                capabilities=types.ClientCapabilities(),
                client_info=types.Implementation(name="mcp", version="0.1.0"),
            )
        ),
        types.InitializeResult,
    )
    session.adopt(result)
    await session.send_notification(types.InitializedNotification())
    return result


async def call(session, tool, **arguments):
    """Calls a tool that must succeed; gives its structured content and its text."""
    result = await session.call_tool(tool, arguments)
    if result.is_error:
        raise CheckFailed(f"{tool} {arguments} succeeds; seen: {text(result)!r}")
    if result.structured_content is None:
        raise CheckFailed(f"{tool} {arguments} gives structured content; seen: {result!r}")
    return result.structured_content, text(result)


def text(result):
    """The text that a model would read."""
    return "\n".join(part.text for part in result.content if isinstance(part, types.TextContent))


async def speaks(penpal, checks, revision):
    """One revision, from the first message to the first call."""
    async with penpal.server("revisions") as session:
        greeting = await offer(session, revision)
        checks.that(f"{revision} is spoken", greeting.protocol_version == revision, greeting)
        names = {tool.name for tool in (await session.list_tools()).tools}
        checks.that(f"{revision} lists the tools", names == set(TOOLS), names)
        listed, _ = await call(session, "sessions")
        checks.that(f"{revision} calls a tool", listed["me"] == "revisions", listed)


async def falls_back(penpal, checks):
    """A client of a revision without `initialize` asks for it first, and must be told no, not left waiting."""
    async with penpal.server("revisions") as session:
        try:
            found = await session.discover()
        except mcp.MCPError as refusal:
            found = refusal
        checks.that("server/discover is refused", isinstance(found, mcp.MCPError), found)
        greeting = await session.initialize()
        checks.that("initialize works after that", greeting.server_info.name == "penpal", greeting)


async def shows_its_tools(session, folder, checks):
    """What a client reads before it offers the tools to a model."""
    greeting = await session.initialize()
    checks.that(f"{folder}: initialize names the server", greeting.server_info.name == "penpal", greeting)
    told = greeting.instructions or ""
    checks.that(f"{folder}: instructions say what mail is", "never instructions" in told, told)
    await session.send_ping()
    checks.that(f"{folder}: ping is answered", True)
    tools = (await session.list_tools()).tools
    names = sorted(tool.name for tool in tools)
    checks.that(f"{folder}: exactly these tools", names == sorted(TOOLS), names)
    for tool in tools:
        schema = tool.output_schema or {}
        checks.that(f"{folder}: {tool.name} has an output schema", schema.get("type") == "object", schema)
        hint = tool.annotations and tool.annotations.read_only_hint
        checks.that(f"{folder}: {tool.name} has readOnlyHint {TOOLS[tool.name]}", hint is TOOLS[tool.name], hint)


async def write_to_each_other(api, web, checks):
    """Summary, list, note, ask and answer between the two sessions."""
    described, _ = await call(api, "set_summary", text="schema v2")
    checks.that("set_summary names the session", described == {"session": "api", "summary": "schema v2"}, described)
    # A session is listed from its first call on.
    await call(web, "set_summary", text="checkout form")

    listed, _ = await call(api, "sessions")
    checks.that("sessions says who is asking", listed["me"] == "api", listed)
    others = {line["address"]: line for line in listed["local"]}
    checks.that("sessions lists the other session", set(others) == {"web"}, listed)
    checks.that("sessions shows its summary", others["web"]["summary"] == "checkout form", others)
    address = others["web"]["address"]

    note, _ = await call(api, "send", to=address, text="schema is final", subject="v2")
    checks.that("a note is sent without waiting", note["id"] and not note["timed_out"], note)
    got, quote = await call(web, "inbox")
    checks.that("inbox has the note alone", got["count"] == 1, got)
    # What is shown is not left: a model told of more would call again for nothing.
    checks.that("inbox says that nothing is left", got["more"] == 0, got)
    checks.that("inbox quotes the note", "| schema is final" in quote, quote)
    checks.that("text and structured content agree", "| schema is final" in got["messages"], got)
    again, _ = await call(web, "inbox")
    checks.that("reading marked it as read", again["count"] == 0, again)
    whole, _ = await call(web, "inbox", all=True)
    checks.that("inbox has read mail on request", whole["count"] == 1, whole)

    await ask_and_answer(api, web, address, checks)

    empty, _ = await call(api, "inbox")
    checks.that("an answer that was returned is not shown again", empty["count"] == 0, empty)
    quiet, _ = await call(web, "wait", seconds=1)
    checks.that("wait ends without mail", quiet["count"] == 0, quiet)
    unread, _ = await call(api, "send", to=address, text="anyone?", kind="ask", wait_seconds=1)
    checks.that("an ask that nobody answers times out", unread["timed_out"] and unread["answer"] is None, unread)


async def ask_and_answer(api, web, address, checks):
    """`send` with `wait_seconds` holds its caller while the other session reads and replies."""
    asked = {}

    async def ask():
        asked["answer"], asked["text"] = await call(
            api, "send", to=address, text="which port?", kind="ask", wait_seconds=40
        )

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        got, quote = await call(web, "wait", seconds=40)
        checks.that("wait returns with the ask", got["count"] == 1 and "| which port?" in quote, quote)
        reply_to = re.search(r'reply_to="([^"]+)"', quote)
        checks.that("the quote says how to answer", reply_to is not None, quote)
        reply, _ = await call(web, "send", text="4433", reply_to=reply_to.group(1))
        checks.that("a reply needs no address", reply["reason"] is None, reply)

    answer = asked["answer"]
    checks.that("the ask is answered", answer["stage"] == "answered" and not answer["timed_out"], answer)
    checks.that("the answer comes with it", "| 4433" in (answer["answer"] or ""), answer)
    checks.that("the answer is in the text, too", "| 4433" in asked["text"], asked["text"])


async def refuses(api, checks):
    """A mistake of the model is a result that it can read, with the next step."""
    for name, tool, arguments in (
        ("a wrong address", "send", {"to": "webb", "text": "x"}),
        ("a wrong message id", "send", {"reply_to": "zzzzzz", "text": "x"}),
    ):
        result = await api.call_tool(tool, arguments)
        checks.that(f"{name} is an error", result.is_error is True, result)
        checks.that(f"{name} comes with a hint", "hint:" in text(result), text(result))
    listed, _ = await call(api, "sessions")
    checks.that("the server goes on after errors", listed["me"] == "api", listed)


async def drive(penpal, checks):
    """All checks that need a server."""
    with anyio.fail_after(RUN_SECONDS):
        async with penpal.server("api") as api, penpal.server("web") as web:
            await shows_its_tools(api, "api", checks)
            await shows_its_tools(web, "web", checks)
            await write_to_each_other(api, web, checks)
            await refuses(api, checks)
        for revision in REVISIONS:
            await speaks(penpal, checks, revision)
        await falls_back(penpal, checks)


def first(error):
    """The error that began it: task groups wrap what ends them, once per group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(arguments):
    """Gives the exit code."""
    if len(arguments) != 1:
        print("usage: python client.py PATH_TO_PENPAL", file=sys.stderr)
        return 2
    program = Path(arguments[0]).resolve()
    if not program.is_file():
        print(f"{program} is no program", file=sys.stderr)
        return 2

    # The package lends a server a few more of our own variables (SHELL, USER, TERM) if we have them.
    for name in set(os.environ) - {"PATH"}:
        del os.environ[name]

    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="penpal-", ignore_cleanup_errors=True) as root:
        penpal = Penpal(str(program), Path(root))
        try:
            try:
                anyio.run(drive, penpal, checks)
            finally:
                # The servers started a node that outlives them; it must not outlive the run.
                stopped = penpal.run("daemon", "stop")
            checks.that("the node stops", stopped.returncode == 0, stopped)
        except Exception as error:  # The package raises many kinds; each of them fails the run.
            cause = first(error)
            print(f"FAIL {type(cause).__name__}: {cause}")
            print(f"{checks.passed} passed, 1 failed")
            return 1
    print(f"{checks.passed} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
