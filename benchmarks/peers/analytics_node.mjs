// What a user writes around Segment's library for Node: read a line, call track.
// node analytics_node.mjs FOLDER HOST KEY SETTINGS, where FOLDER has the node_modules.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [folder, host, writeKey, settings] = process.argv.slice(2);
const { Analytics } = createRequire(`${folder}/`)("@segment/analytics-node");
const analytics = new Analytics({ writeKey, host, ...JSON.parse(settings) });
analytics.on("error", ({ code }) => console.error(code));

for await (const line of createInterface({ input: process.stdin })) {
  const { type, record } = JSON.parse(line);
  if (type === "RECORD") {
    analytics.track({
      userId: record.user_id,
      anonymousId: record.anonymous_id,
      event: record.event,
      properties: record.properties,
      context: record.context,
      integrations: record.integrations,
      timestamp: record.timestamp,
      messageId: record.message_id,
    });
  }
}
await analytics.closeAndFlush({ timeout: 600_000 });
