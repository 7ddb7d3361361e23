// penpal: wired in by `penpal init`, taken out by `penpal uninstall`.
// Says which conversation is at work, and shows mail that waits for it. Without penpal it does nothing.
import { spawn } from "node:child_process"

const command = PENPAL_COMMAND

function hook(event, input) {
  return new Promise((done) => {
    const child = spawn(command[0], [...command.slice(1), event], { stdio: ["pipe", "pipe", "ignore"] })
    const late = setTimeout(() => child.kill(), 2000)
    let said = ""
    child.stdout.on("data", (part) => (said += part))
    child.stdin.on("error", () => {})
    child.on("error", () => (clearTimeout(late), done({})))
    child.on("close", () => {
      clearTimeout(late)
      try {
        done(said ? JSON.parse(said) : {})
      } catch {
        done({})
      }
    })
    child.stdin.end(JSON.stringify(input))
  })
}

function partId() {
  const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
  let id = "prt_" + Date.now().toString(16).padStart(12, "0")
  for (let i = 0; i < 14; i++) id += letters[Math.floor(Math.random() * letters.length)]
  return id
}

export const Penpal = async ({ client, directory }) => {
  // Conversations that an agent started within another one are no sessions of their own.
  const inner = new Set()
  // One process for each conversation waits until penpal wakes it.
  const waiting = new Map()
  // What could not be given is unread again after a while: somebody has to wait for it then.
  const give = async (sessionID, text) => {
    try {
      const said = await client.session.promptAsync({ path: { id: sessionID }, body: { parts: [{ type: "text", text }] } })
      if (said?.error) wait(sessionID)
    } catch {
      wait(sessionID)
    }
  }

  function wait(sessionID) {
    if (waiting.has(sessionID)) return
    const child = spawn(command[0], [...command.slice(1), "wait"], { stdio: ["pipe", "pipe", "ignore"] })
    waiting.set(sessionID, child)
    let said = ""
    child.stdout.on("data", (part) => (said += part))
    child.stdin.on("error", () => {})
    const over = () => waiting.get(sessionID) === child && waiting.delete(sessionID)
    child.on("error", over)
    child.on("close", () => {
      over()
      try {
        if (said) give(sessionID, JSON.parse(said).prompt)
      } catch {}
    })
    // Its input stays open: when this process ends, it does.
    child.stdin.write(JSON.stringify({ sessionID, directory }) + "\n")
    child.unref?.()
  }

  return {
    event: async ({ event }) => {
      const about = event.properties ?? {}
      const sessionID = about.sessionID ?? about.info?.id
      if (!sessionID) return
      // Messages have a parent as well: the one that they answer.
      if (event.type.startsWith("session.") && about.info?.parentID) inner.add(sessionID)
      if (inner.has(sessionID)) return
      if (!["session.created", "session.idle", "session.deleted"].includes(event.type)) return
      if (event.type === "session.deleted") waiting.get(sessionID)?.kill()
      const said = await hook("event:" + event.type, { sessionID, directory })
      if (said.prompt) await give(sessionID, said.prompt)
      else if (event.type !== "session.deleted") wait(sessionID)
    },
    "chat.message": async (input, output) => {
      if (inner.has(input.sessionID)) return
      const prompt = output.parts.map((part) => (part.type === "text" ? part.text : "")).join("\n")
      const said = await hook("chat.message", { sessionID: input.sessionID, directory, prompt })
      if (said.context)
        output.parts.push({
          id: partId(),
          type: "text",
          synthetic: true,
          text: said.context,
          sessionID: input.sessionID,
          messageID: output.message.id,
        })
    },
    "tool.execute.before": async (input, output) => {
      // One MCP server serves all conversations: the call says which one it is.
      if (input.tool.startsWith("penpal_")) output.args.penpal_session = input.sessionID
    },
    "tool.execute.after": async (input) => {
      if (!inner.has(input.sessionID)) await hook("tool.execute.after", { sessionID: input.sessionID, directory })
    },
  }
}
