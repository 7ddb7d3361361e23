// opencode as penpal's plugin sees it: node plugin.mjs PLUGIN. Reads an order a line from standard input, answers with a line of JSON.
import { createInterface } from "node:readline"

const given = []
const client = {
  session: {
    promptAsync: async ({ path, body }) => void given.push({ session: path.id, text: body.parts[0].text }),
  },
}
const { Penpal } = await import(process.argv[2])
const hooks = await Penpal({ client, directory: "/nowhere/work" })

const orders = {
  event: async ({ type, sessionID, parentID }) => {
    await hooks.event({ event: { type, properties: { sessionID, info: { id: sessionID, parentID } } } })
  },
  message: async ({ sessionID, text }) => {
    const output = { message: { id: "msg_1" }, parts: [{ type: "text", text }] }
    await hooks["chat.message"]({ sessionID }, output)
    return output.parts
  },
  before: async ({ tool, sessionID }) => {
    const output = { args: {} }
    await hooks["tool.execute.before"]({ tool, sessionID }, output)
    return output.args
  },
  after: async ({ tool, sessionID }) => void (await hooks["tool.execute.after"]({ tool, sessionID })),
  given: async () => given.splice(0),
}

for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...input } = JSON.parse(line)
  console.log(JSON.stringify((await orders[order](input)) ?? null))
}
process.exit(0)
