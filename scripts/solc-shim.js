#!/usr/bin/env node
// The part of solc's command line that Brownie and compile.py use, over npm's JavaScript build:
// --version and --standard-json. Standard output carries nothing but the answer.
const fs = require("fs");
const path = require("path");
const solc = require(path.join(__dirname, "..", "node_modules", "solc"));

const read = (file) => {
  try {
    return { contents: fs.readFileSync(path.resolve(file), "utf8") };
  } catch (error) {
    return { error: String(error) };
  }
};

if (process.argv.includes("--version")) {
  const version = solc.version().replace("Emscripten.clang", "Linux.g++");
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}`);
} else if (process.argv.includes("--standard-json")) {
  process.stdout.write(solc.compile(fs.readFileSync(0, "utf8"), { import: read }));
} else {
  console.error("solc-shim: only --version and --standard-json");
  process.exitCode = 1;
}
