"""Real coding agents, wired in by `penpal init`, driven headless and in a terminal against a model of our own.

    python3 tests/clients/suite.py --penpal target/debug [--client claude-code,codex] [--keep]

Installs the pinned clients from npm into a temporary folder (or takes them from --modules). Two people on one relay: Alice's agent is the
client, Bob writes to it from another home. Every line that is printed was seen to hold or not, and a table of all ends the run; the exit
status is 1 when one does not hold.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from mock import Model  # noqa: E402

KEY = "sk-ant-api03-made-up-for-a-test-0123456789abcdef"
PATIENCE = 60

# A session is woken once in this time, in seconds: what is measured must not wait for it.
BETWEEN_WAKES = 61


class Failed(Exception):
    pass


def until(what, holds, patience=PATIENCE):
    limit = time.time() + patience
    while True:
        found = holds()
        if found:
            return found
        if time.time() > limit:
            raise Failed(f"{what} did not happen within {patience} s")
        time.sleep(0.1)


class Person:
    def __init__(self, world, name):
        self.world, self.name, self.home = world, name, world.folder / name
        self.home.mkdir()

    def env(self, more=None):
        env = {"PATH": f"{self.world.bin}:{os.environ['PATH']}", "HOME": str(self.home), "LANG": "C.UTF-8", "TERM": "xterm-256color", "TMPDIR": str(self.world.folder)}
        env.update(more or {})
        return env

    def run(self, *args, check=True, **more):
        said = subprocess.run([str(self.world.penpal), *args], env=self.env(), capture_output=True, text=True, timeout=150, **more)
        if check and said.returncode:
            raise Failed(f"{self.name}: penpal {' '.join(args)}: {said.stdout}{said.stderr}")
        return said

    def json(self, *args):
        return json.loads(self.run(*args, "--json").stdout)

    def sessions(self):
        return {row["session"]: row for row in self.json("sessions", "--all")["sessions"]}


class World:
    def __init__(self, folder, binaries):
        self.folder = folder
        self.penpal, relay = binaries / "penpal", binaries / "penpal-relay"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.model = Model()
        self.relay = subprocess.Popen(
            [str(relay), "serve", "--data", str(folder / "relay"), "--listen", "127.0.0.1:0", "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        )
        address = json.loads(self.relay.stdout.readline())["address"]
        token = subprocess.run([str(relay), "token", "new", "--data", str(folder / "relay"), "--json"], capture_output=True, text=True)
        self.alice, self.bob = Person(self, "alice"), Person(self, "bob")
        self.bob.run("register", address, "--token", json.loads(token.stdout)["token"], "--handle", "bob", "--device", "desktop")
        code = self.bob.json("contact", "invite")["code"]
        self.alice.run("contact", "add", code, "--handle", "alice", "--device", "laptop")
        until("the request", lambda: any(row["state"] == "pending-in" for row in self.bob.json("contact", "list")["contacts"]))
        self.bob.run("contact", "accept", "alice")
        until("the contact", lambda: any(row["state"] == "active" for row in self.alice.json("contact", "list")["contacts"]))
        self.bob.run("session", "open", "web")
        self.wrapper()

    def wrapper(self):
        """What agents run: penpal, unless a test wants the agent dead while its hook has the mail."""
        own = self.bin / "penpal"
        own.write_text(
            "#!/bin/sh\n"
            f'if [ -e "{self.folder}/kill-now" ] && [ "$1" = hook ] && [ "$3" != wait ]; then\n'
            # The hook takes the mail, and what it writes reaches nobody.
            f'  "{self.penpal}" "$@" >/dev/full 2>"{self.folder}/killed"\n'
            f'  [ -s "{self.folder}/kill-now" ] && kill -9 $(cat "{self.folder}/kill-now")\n'
            "  exit 0\nfi\n"
            # Ways that a test does not want are hidden, so that the next one is used.
            'case ",$PENPAL_NO_WAKE," in *,native-inbox,*) unset CLAUDE_CODE_MESSAGING_SOCKET;; esac\n'
            'case "$3,$PENPAL_NO_WAKE," in wait,*rewake-hook,*|wait,*plugin,*) exit 0;; esac\n'
            f'exec "{self.penpal}" "$@"\n'
        )
        own.chmod(0o755)

    def close(self):
        for person in (self.alice, self.bob):
            person.run("daemon", "stop", check=False)
        self.relay.terminate()
        self.relay.wait()
        self.model.close()


class Client:
    name = package = version = ""
    program = ""
    rungs = ()
    # Typed into where a process runs one conversation.
    typed = ("terminal",)
    session = "work"

    def __init__(self, world, modules):
        self.world, self.modules, self.user = world, modules, world.alice
        self.project = world.folder / f"{self.name}-project" / self.session
        self.project.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", str(self.project)], check=True)

    def binary(self):
        return self.modules / "node_modules" / ".bin" / self.program

    def environment(self):
        return {}

    def prepare(self):
        pass

    def link(self):
        """The client on the path, under its own name."""
        link = self.world.bin / self.program
        if link.is_symlink():
            link.unlink()
        link.symlink_to(self.binary())

    def turn(self, text):
        """A prompt in whose turn waiting mail shows."""
        return text

    def close(self):
        """Ends what the client leaves running."""

    def env(self, more=None):
        return self.user.env({**self.environment(), "PENPAL_SESSION": self.session, **(more or {})})

    def headless(self, prompt, expect=0):
        limit = 120
        started = subprocess.Popen(self.argv(prompt), cwd=self.project, env=self.env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.running = started.pid
        try:
            said, _ = started.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            said, _ = started.communicate()
            raise Failed(f"{self.name} did not end within {limit} s: {said[-400:]}")
        if expect is not None and started.returncode != expect:
            raise Failed(f"{self.name} ended with {started.returncode}: {said[-600:]}")
        return said


class Terminal:
    """A client in tmux."""

    def __init__(self, client, argv, env):
        self.socket = f"penpal-{os.getpid()}"
        self.client = client
        script = client.world.folder / "tui.sh"
        lines = "".join(f"export {name}={quote(value)}\n" for name, value in env.items())
        script.write_text(f"#!/bin/sh\n{lines}cd {quote(str(client.project))}\nexec {' '.join(quote(str(word)) for word in argv)}\n")
        script.chmod(0o755)
        self.tmux("kill-server", check=False)
        clean = {"PATH": os.environ["PATH"], "HOME": str(client.user.home), "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        subprocess.run(["tmux", "-L", self.socket, "-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "50", f"sh {script} 2>{client.world.folder}/tui.err; sleep 600"], check=True, env=clean)

    def tmux(self, *args, check=True):
        return subprocess.run(["tmux", "-L", self.socket, *args], capture_output=True, text=True, check=check).stdout

    def screen(self):
        return self.tmux("capture-pane", "-p", check=False)

    def type(self, text):
        self.tmux("send-keys", "-l", text)
        time.sleep(0.6)
        self.tmux("send-keys", "Enter")

    def key(self, *keys):
        self.tmux("send-keys", *keys)

    def close(self):
        self.tmux("kill-server", check=False)


def quote(word):
    return "'" + str(word).replace("'", "'\\''") + "'"


class ClaudeCode(Client):
    name, package, version, program = "claude-code", "@anthropic-ai/claude-code", "2.1.329", "claude"
    rungs = ("native-inbox", "rewake-hook")

    def binary(self):
        native = self.modules / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
        return native if native.exists() else super().binary()

    def environment(self):
        return {"ANTHROPIC_BASE_URL": self.world.model.url, "ANTHROPIC_API_KEY": KEY, "DISABLE_TELEMETRY": "1", "DISABLE_AUTOUPDATER": "1", "DISABLE_ERROR_REPORTING": "1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "ENABLE_TOOL_SEARCH": "false"}

    def prepare(self):
        state = {"hasCompletedOnboarding": True, "theme": "dark", "bypassPermissionsModeAccepted": True, "customApiKeyResponses": {"approved": [KEY[-20:]], "rejected": []}, "projects": {str(self.project): {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True, "allowedTools": []}}}
        (self.user.home / ".claude.json").write_text(json.dumps(state))
        (self.user.home / ".claude").mkdir(exist_ok=True)
        (self.user.home / ".claude/settings.json").write_text(json.dumps({"permissions": {"allow": ["mcp__penpal__send", "mcp__penpal__inbox"]}}))

    def argv(self, prompt):
        return [self.binary(), "-p", prompt]

    def interactive(self):
        return [self.binary()]


class ClaudeCode197(ClaudeCode):
    version = "2.1.197"
    rungs = ("rewake-hook",)


class Codex(Client):
    name, package, version, program = "codex", "@openai/codex", "0.169.0", "codex"
    rungs, typed = ("queue",), ()

    def binary(self):
        native = self.modules / "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
        return native if native.exists() else super().binary()

    def environment(self):
        return {"MOCK_KEY": "made-up"}

    def prepare(self):
        (self.user.home / ".codex").mkdir(exist_ok=True)
        (self.user.home / ".codex/config.toml").write_text(
            'model = "mock"\nmodel_provider = "mock"\napproval_policy = "never"\nsandbox_mode = "workspace-write"\ncheck_for_update_on_startup = false\n\n'
            f'[model_providers.mock]\nname = "mock"\nbase_url = "{self.world.model.url}/v1"\nenv_key = "MOCK_KEY"\nwire_api = "responses"\n\n'
            f'[projects."{self.project}"]\ntrust_level = "trusted"\n\n[analytics]\nenabled = false\n'
        )

    def after_init(self):
        path = self.user.home / ".codex/config.toml"
        text = path.read_text()
        path.write_text(text.replace("[mcp_servers.penpal]\n", '[mcp_servers.penpal]\ndefault_tools_approval_mode = "approve"\n'))

    def argv(self, prompt):
        return [self.binary(), "exec", "--dangerously-bypass-hook-trust", "--skip-git-repo-check", prompt]

    def interactive(self):
        return [self.binary(), "--dangerously-bypass-hook-trust"]


class Opencode(Client):
    name, package, version, program = "opencode", "opencode-ai", "1.18.33", "opencode"
    rungs, typed = ("plugin",), ()

    def binary(self):
        native = self.modules / "node_modules/opencode-linux-x64/bin/opencode"
        return native if native.exists() else super().binary()

    def environment(self):
        return {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}

    def prepare(self):
        folder = self.user.home / ".config/opencode"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "opencode.json").write_text(json.dumps({
            "$schema": "https://opencode.ai/config.json", "model": "mock/mock", "small_model": "mock/mock", "autoupdate": False, "share": "disabled", "permission": "allow",
            "provider": {"mock": {"npm": "@ai-sdk/openai-compatible", "name": "mock", "options": {"baseURL": f"{self.world.model.url}/v1", "apiKey": "made-up"}, "models": {"mock": {"name": "mock", "tool_call": True}}}},
        }))

    def argv(self, prompt):
        return [self.binary(), "run", prompt]

    def interactive(self):
        return [self.binary()]


class Gemini(Client):
    name, package, version, program = "gemini", "@google/gemini-cli", "0.61.0", "gemini"

    def environment(self):
        return {"GEMINI_API_KEY": "made-up", "GOOGLE_GEMINI_BASE_URL": self.world.model.url, "GEMINI_CLI_NO_RELAUNCH": "1"}

    def prepare(self):
        folder = self.user.home / ".gemini"
        folder.mkdir(exist_ok=True)
        (folder / "settings.json").write_text(json.dumps({"security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}}, "general": {"disableAutoUpdate": True, "disableUpdateNag": True}, "privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}, "ui": {"theme": "Default"}}))

    def after_init(self):
        path = self.user.home / ".gemini/settings.json"
        settings = json.loads(path.read_text())
        settings["mcpServers"]["penpal"]["trust"] = True
        path.write_text(json.dumps(settings, indent=2))

    def argv(self, prompt):
        return [self.binary(), "-m", "gemini-2.5-flash", "-p", prompt]

    def interactive(self):
        return [self.binary(), "-m", "gemini-2.5-flash"]


class Qwen(Client):
    name, package, version, program = "qwen", "@qwen-code/qwen-code", "0.15.10", "qwen"

    def environment(self):
        return {"OPENAI_API_KEY": "made-up", "OPENAI_BASE_URL": f"{self.world.model.url}/v1", "OPENAI_MODEL": "mock", "QWEN_CODE_NO_RELAUNCH": "1"}

    def prepare(self):
        folder = self.user.home / ".qwen"
        folder.mkdir(exist_ok=True)
        (folder / "settings.json").write_text(json.dumps({"security": {"auth": {"selectedType": "openai"}, "folderTrust": {"enabled": False}}, "general": {"disableAutoUpdate": True}, "privacy": {"usageStatisticsEnabled": False}, "telemetry": {"enabled": False}}))

    def after_init(self):
        path = self.user.home / ".qwen/settings.json"
        settings = json.loads(path.read_text())
        settings["mcpServers"]["penpal"]["trust"] = True
        path.write_text(json.dumps(settings, indent=2))

    def argv(self, prompt):
        return [self.binary(), "--auth-type", "openai", "-p", prompt]

    def interactive(self):
        return [self.binary(), "--auth-type", "openai"]


class Copilot(Client):
    name, package, version, program = "copilot", "@github/copilot", "1.0.102", "copilot"

    def binary(self):
        native = self.modules / "node_modules/@github/copilot-linux-x64/copilot"
        return native if native.exists() else super().binary()

    def environment(self):
        return {"COPILOT_PROVIDER_BASE_URL": f"{self.world.model.url}/v1", "COPILOT_PROVIDER_API_KEY": "made-up", "COPILOT_MODEL": "mock", "COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false", "COPILOT_ALLOW_ALL": "true"}

    def argv(self, prompt):
        return [self.binary(), "-p", prompt]

    def interactive(self):
        return [self.binary()]


class Grok(Client):
    name, package, version, program = "grok", "@xai-official/grok", "1.0.41", "grok"

    def environment(self):
        return {"GROK_DISABLE_AUTOUPDATER": "1", "XAI_API_KEY": "made-up"}

    def prepare(self):
        folder = self.user.home / ".grok"
        folder.mkdir(exist_ok=True)
        (folder / "config.toml").write_text(
            '[cli]\nauto_update = false\n\n[models]\ndefault = "mock"\n\n[features]\ntelemetry = false\n\n'
            f'[model.mock]\nmodel = "mock"\nname = "mock"\nbase_url = "{self.world.model.url}/v1"\napi_key = "made-up"\napi_backend = "chat_completions"\ncontext_window = 100000\n'
        )

    def argv(self, prompt):
        return [self.binary(), "--always-approve", "-p", prompt]

    def interactive(self):
        return [self.binary(), "--always-approve"]


class Cline(Client):
    name, package, version, program = "cline", "cline", "3.0.65", "cline"

    def environment(self):
        return {"CLINE_TELEMETRY_DISABLED": "1", "CLINE_NO_AUTO_UPDATE": "1"}

    def prepare(self):
        subprocess.run([self.binary(), "auth", "-p", "openai", "-k", "made-up", "-b", f"{self.world.model.url}/v1", "-m", "mock"], check=True, env=self.env(), capture_output=True, timeout=60)

    def turn(self, text):
        # Mail shows behind a tool only.
        return f"{text} MOCK-CALL sessions {{}} END"

    def argv(self, prompt):
        return [self.binary(), prompt]

    def interactive(self):
        return [self.binary(), "--tui"]

    def close(self):
        """Its hub outlives it."""
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = process.read_bytes().decode(errors="replace")
                if "--cline-hub-daemon" in words and str(self.world.folder) in words:
                    os.kill(int(process.parent.name), signal.SIGTERM)
            except OSError:
                pass
        until("the end of the hub's session", lambda: self.user.sessions().get(self.session, {}).get("state") != "idle", 20)


CLIENTS = [ClaudeCode, ClaudeCode197, Codex, Opencode, Gemini, Qwen, Copilot, Grok, Cline]


class Suite:
    def __init__(self, client, report):
        self.client, self.world, self.report = client, client.world, report
        self.number = 0
        self.woken_at = 0.0

    def check(self, name, what):
        begun = time.time()
        try:
            detail = what() or ""
            ok = True
        except (Failed, subprocess.SubprocessError, OSError, ValueError, KeyError) as error:
            detail, ok = str(error), False
        self.report(self.client, name, ok, round((time.time() - begun) * 1000), str(detail))
        return ok

    def fresh(self):
        self.number += 1
        return f"canary-{self.client.name}-{self.number}-{os.getpid()}"

    def ask(self, text):
        """Bob asks; gives the id of the message."""
        return self.world.bob.json("send", f"alice/{self.client.session}", text, "--ask", "--anyway", "--wait", "0s")["id"]

    def surfaced(self, asked):
        trail = self.world.bob.json("trace", asked)["events"]
        found = [event for event in trail if event["stage"] == "surfaced" and event["signed"]]
        return found[0]["mechanism"] if found else None

    def arrived(self, asked):
        trail = self.world.bob.json("trace", asked)["events"]
        return any(event["stage"] in ("delivered", "held", "surfaced") for event in trail)

    def run(self):
        client, user = self.client, self.world.alice
        client.prepare()
        client.link()
        before = {path: path.read_bytes() for path in user.home.rglob("*") if path.is_file() and ".local/share/penpal" not in str(path)}
        user.run("init", "--yes", "--client", client.name, "--program", str(self.world.bin / "penpal"))
        try:
            getattr(client, "after_init", lambda: None)()
            # The name is known from now on, and mail for it waits while it is away.
            client.headless("hello there")
            self.check("send", self.send)
            self.check("quote", self.quote)
            self.check("kill", self.kill)
            for rung in (*client.rungs, *client.typed):
                self.check(f"wake:{rung}", lambda rung=rung: self.wake(rung))
        finally:
            user.run("uninstall", "--yes", check=False)
        self.check("uninstall", lambda: self.gone(before))

    def gone(self, before):
        left = [str(path) for path in self.world.alice.home.rglob("*") if path.is_file() and ".local/share/penpal" not in str(path) and path.suffix in (".json", ".toml", ".js") and path.stat().st_size < 100_000 and f"{self.world.bin}/penpal" in path.read_text(errors="replace")]
        left = [path for path in left if not any(part in path for part in ("/sessions/", "/projects/", "/backups/", "/tmp/", "/chats/"))]
        if left:
            raise Failed(f"penpal is still named in {left}")
        return f"{len(before)} files before"

    def send(self):
        """The model's tool call sends a message that arrives at another agent on another home through the relay."""
        text = self.fresh()
        order = json.dumps({"to": "bob/web", "text": text})
        said = self.client.headless(f"MOCK-CALL send {order} END")
        inbox = lambda: [m for m in self.world.bob.json("inbox", "web", "--all")["messages"] if text in m["body"]]
        try:
            found = until("the message", inbox, 20)
        except Failed as error:
            raise Failed(f"{error}: {said[-300:]}")
        if len(found) != 1:
            raise Failed(f"arrived {len(found)} times")
        return f"from {found[0]['from']}"

    def quote(self):
        """Mail that waits stands in the model's request, in its quote, once; its sender is told how."""
        text = self.fresh()
        asked = self.ask(text)
        until("the delivery", lambda: self.arrived(asked), 20)
        since = self.world.model.count()
        self.client.headless(self.client.turn("hello, go on"))
        if not self.world.model.seen(f"| {text}", since):
            raise Failed(f"not in any of {self.world.model.count() - since} requests; {self.surfaced(asked)}")
        how = until("the receipt", lambda: self.surfaced(asked), 20)
        if self.world.model.times(f"| {text}") != 1:
            raise Failed(f"shown {self.world.model.times(f'| {text}')} times")
        return how

    def kill(self):
        """The client is killed while its hook has the mail: nothing is lost."""
        text = self.fresh()
        asked = self.ask(text)
        until("the delivery", lambda: self.arrived(asked), 20)
        mark = self.world.folder / "kill-now"
        mark.write_text("")
        started = subprocess.Popen(self.client.argv(self.client.turn("hello")), cwd=self.client.project, env=self.client.env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        mark.write_text(f"-{started.pid}")
        try:
            started.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        finally:
            mark.unlink()
        if started.returncode >= 0:
            raise Failed(f"it was not killed: {started.returncode}")
        if self.surfaced(asked):
            raise Failed("it counts as surfaced")
        time.sleep(11)
        since = self.world.model.count()
        self.client.headless(self.client.turn("hello again"))
        if not self.world.model.seen(f"| {text}", since):
            raise Failed("lost")
        return until("the receipt", lambda: self.surfaced(asked), 20)

    def wake(self, rung):
        """An idle session in its terminal is woken by an ask of Bob's, and nothing shows twice."""
        client = self.client
        # What an earlier run left behind would keep the session's name.
        client.close()
        argv = client.interactive()
        if rung == "terminal":
            argv = [self.world.penpal, "run", client.name, "--", *[str(word) for word in argv[1:]]]
        others = [other for other in client.rungs if other != rung]
        hidden = {"PENPAL_NO_WAKE": ",".join(others)}
        terminal = Terminal(client, argv, client.env(hidden))
        try:
            self.settle(terminal)
            self.begin(terminal)
            row = lambda: self.world.alice.sessions().get(client.session, {})
            until("an idle session", lambda: row().get("state") == "idle" and any(way["by"] == rung for way in row().get("wakes", [])), 40)
            text = self.fresh()
            time.sleep(max(0.0, self.woken_at + BETWEEN_WAKES - time.time()))
            since = self.world.model.count()
            begun = time.time()
            asked = self.ask(text)
            marked = f"| {text}"
            seen = until("the wake", lambda: self.world.model.seen(marked, since), 100)
            took = round((seen[0] - begun) * 1000)
            self.woken_at = time.time()
            how = until("the receipt", lambda: self.surfaced(asked), 20)
            until("the end of the turn", lambda: row().get("state") == "idle", 40)
            terminal.type("and go on")
            after = self.world.model.count()
            until("another turn", lambda: self.world.model.seen("and go on", after - 1) or self.world.model.count() > after, 40)
            time.sleep(1)
            times = self.world.model.times(marked)
            if times != 1:
                raise Failed(f"shown {times} times (by {how})")
            if how != rung:
                raise Failed(f"woken by {how}")
            return f"{took} ms from sending to the model's request"
        except Failed as error:
            screen = "\n".join(line for line in terminal.screen().splitlines() if line.strip())
            raise Failed(f"{error}\n--- row {self.world.alice.sessions().get(client.session)}\n--- screen\n{screen[-1500:]}")
        finally:
            terminal.close()
            time.sleep(1)

    def begin(self, terminal):
        """The first turn; some windows lose what is typed while they still load."""
        for _ in range(3):
            terminal.type("hello there")
            try:
                return until("the first answer", lambda: "Done" in terminal.screen(), 20)
            except Failed:
                pass
        raise Failed("it answers nothing that is typed")

    def settle(self, terminal):
        """Until the screen rests; questions of the first start are answered with return."""
        last, since, pressed = "", time.time(), 0
        begun = time.time()
        while time.time() - begun < 60:
            now = terminal.screen()
            if now != last:
                last, since = now, time.time()
            asks = any(word in now for word in ("Do you trust", "Yes, proceed", "Press Enter to continue", "Yes, I trust", "Trust folder", "Trust this folder"))
            if asks and time.time() - since > 1 and pressed < 4:
                terminal.key("Enter")
                pressed += 1
                since = time.time()
            elif now.strip() and time.time() - since > 3:
                return
            time.sleep(0.2)


def install(clients, folder):
    if not shutil.which("npm"):
        print("npm is not here: the suite needs it to install the clients (Node 20 or newer)")
        sys.exit(3)
    # Two versions of one package cannot share a folder.
    place = {}
    for client in clients:
        home = folder / f"npm-{client.package.replace('/', '_')}-{client.version}"
        home.mkdir(parents=True, exist_ok=True)
        place[client] = home
        if (home / "node_modules" / client.package).exists():
            continue
        (home / "package.json").write_text('{"private":true}')
        print(f"installing {client.package}@{client.version}", flush=True)
        said = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", f"{client.package}@{client.version}"], cwd=home, capture_output=True, text=True, timeout=580)
        if said.returncode:
            print(f"{client.package}@{client.version} cannot be installed: {said.stderr[-300:]}")
            place.pop(client)
    return place


def show(table, columns):
    """What was found, as a table in Markdown. A way that an agent does not have is `none`."""
    rows = list(dict.fromkeys(name for results in table.values() for name in results))
    print("\n| | " + " | ".join(columns) + " |\n|" + " --- |" * (len(columns) + 1))
    for row in rows:
        cells = [table.get(column, {}).get(row, "none" if column in table else "not installed") for column in columns]
        print(f"| `{row}` | " + " | ".join(cells) + " |")
    print(flush=True)


def main():
    known = {f"{client.name}@{client.version}": client for client in CLIENTS}
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--penpal", required=True, type=Path, help="folder of penpal and penpal-relay")
    options.add_argument("--client", help="these only, such as claude-code,codex or claude-code@2.1.197")
    options.add_argument("--modules", type=Path, help="folder that holds or gets the installed clients")
    options.add_argument("--check", help="these checks only, such as send,wake:terminal")
    options.add_argument("--keep", action="store_true", help="leave the folder of the run")
    options = options.parse_args()
    wanted = options.client.split(",") if options.client else list(known)
    clients = [client for name, client in known.items() if name in wanted or client.name in wanted]
    if options.check:
        chosen = options.check.split(",")
        check = Suite.check
        Suite.check = lambda self, name, what: name in chosen and check(self, name, what)
    table, failed = {}, []

    def report(client, name, ok, took, detail):
        print(f"{'ok  ' if ok else 'FAIL'} {client.name} {client.version} {name} ({took} ms) {detail}", flush=True)
        ms = detail.split(" ms from")[0]
        cell = f"yes, {int(ms) / 1000:.1f} s" if ms.isdigit() else f"yes, {detail}" if name == "quote" else "yes"
        table.setdefault(f"{client.name} {client.version}", {})[name] = cell if ok else "**no**"
        if not ok:
            failed.append((client.name, name))

    folder = Path(tempfile.mkdtemp(prefix="penpal-clients-"))
    place = install(clients, options.modules or folder / "clients")
    for client, modules in place.items():
        home = folder / f"{client.name}-{client.version}"
        home.mkdir()
        world = World(home, options.penpal.resolve())
        made = client(world, modules)
        try:
            Suite(made, report).run()
        except (Failed, subprocess.SubprocessError, OSError) as error:
            report(made, "run", False, 0, str(error))
        finally:
            try:
                made.close()
            except (Failed, subprocess.SubprocessError, OSError, ValueError) as error:
                print(f"{made.name} left something running: {error}", flush=True)
            world.close()
    show(table, [f"{client.name} {client.version}" for client in clients])
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}")
    sys.exit(1 if failed or len(place) < len(clients) else 0)


if __name__ == "__main__":
    main()
