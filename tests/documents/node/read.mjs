// Reads a document as the programs of others do and prints what they say against it, one line each.
//
//     node read.mjs asyncapi FILE    AsyncAPI's own parser: the document, its schemas, and the examples held against them
//     node read.mjs openapi FILE     Spectral with its recommended rules for OpenAPI
//
// Exit code 0: nothing to say. 1: it says something. 2: asked wrongly.
import { readFileSync } from "node:fs";
import parser from "@asyncapi/parser";
import core from "@stoplight/spectral-core";
import parsers from "@stoplight/spectral-parsers";
import rulesets from "@stoplight/spectral-rulesets";

const SEVERITIES = ["error", "warning", "information", "hint"];

const readers = {
  async asyncapi(text, file) {
    const { document, diagnostics } = await new parser.Parser().parse(text, { source: file });
    // That a newer version of the specification exists is no defect of the document.
    const said = diagnostics.filter((each) => each.code !== "asyncapi-latest-version");
    if (!document && !said.length) throw new Error("the parser made nothing of it and does not say why");
    return [said, document ? `${document.channels().all().length} channels, ${document.operations().all().length} operations` : ""];
  },
  async openapi(text, file) {
    const spectral = new core.Spectral();
    // Every installation has its own operator: the document knows nobody to write to.
    spectral.setRuleset({ extends: [[rulesets.oas, "recommended"]], rules: { "info-contact": "off" } });
    const said = await spectral.run(new core.Document(text, parsers.Json, file));
    return [said, `${Object.keys(JSON.parse(text).paths).length} paths`];
  },
};

const [kind, file] = process.argv.slice(2);
if (!Object.hasOwn(readers, kind ?? "") || !file) {
  console.error("usage: node read.mjs asyncapi|openapi FILE");
  process.exit(2);
}
const [said, counted] = await readers[kind](readFileSync(file, "utf8"), file);
for (const each of said) {
  console.log(`${SEVERITIES[each.severity]} ${each.code} ${each.path.join("/")}: ${each.message}`);
}
if (!said.length) console.log(`nothing to say: ${counted}`);
process.exitCode = said.length ? 1 : 0;
