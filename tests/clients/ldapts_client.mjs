// Searches with ldapts: usage ldapts_client.mjs URL CA NAME PASSWORD SEARCHES.

import { readFileSync } from "node:fs";
import { Client } from "ldapts";

const [url, ca, name, password, searches] = process.argv.slice(2);
const tlsOptions = { ca: readFileSync(ca) };
const client = new Client({ url, timeout: 30000, connectTimeout: 30000, ...(url.startsWith("ldaps:") && { tlsOptions }) });
if (url.startsWith("ldap:")) await client.startTLS(tlsOptions);
await client.bind(name, password);
for (const { base, scope, filter, attributes, sizelimit } of JSON.parse(readFileSync(searches, "utf-8"))) {
  let code = 0;
  let entries = [];
  try {
    const found = await client.search(base, { scope, filter, attributes, sizeLimit: sizelimit, explicitBufferAttributes: ["thumbnailPhoto"] });
    entries = found.searchEntries.map(({ dn, ...rest }) => [dn, Object.fromEntries(Object.keys(rest).sort().map((key) => [key, encoded(rest[key])]))]);
  } catch (error) {
    if (typeof error.code !== "number") throw error;
    code = error.code;
  }
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  console.log(JSON.stringify({ code, entries }));
}
await client.unbind();

// One value comes alone, several as a list.
function encoded(values) {
  return [values].flat().map((value) => Buffer.from(value).toString("base64"));
}
