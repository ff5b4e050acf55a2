// A program that has Segment's SDK for Node send what it is told to, as its user would write it.
// node send.mjs FOLDER URL KEY SETTINGS, where FOLDER has the node_modules. A line of JSON in:
// the fields of a call, {"$date": …} for a Date. A line out for each call that the SDK gives up:
// the reason and the id.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, host, writeKey, settings] = process.argv.slice(2);
const { Analytics } = createRequire(`${folder}/`)("@segment/analytics-node");
// By default it waits ten seconds for a batch to fill.
const analytics = new Analytics({ writeKey, host, flushInterval: 500, ...JSON.parse(settings) });
analytics.on("error", ({ reason, ctx }) => {
  const status = Number(/^\[(\d+)\]/.exec(reason?.message)?.[1]);
  console.log(JSON.stringify([status || String(reason), [ctx?.event.messageId]]));
});

const native = (_, value) => (value?.$date ? new Date(value.$date) : value);
for await (const line of createInterface({ input: process.stdin })) {
  const { type, ...fields } = JSON.parse(line, native);
  analytics[type](fields);
}
await analytics.closeAndFlush({ timeout: 60_000 });
