import assert from "node:assert/strict";
import { test } from "node:test";
import { greeting } from "./greet.js";

for (const [name, want] of [["Ada", "Hello, Ada!"], [" Ada\n", "Hello, Ada!"], ["", "Hello!"]]) {
  test(`greets ${JSON.stringify(name)}`, () => assert.equal(greeting(name), want));
}
