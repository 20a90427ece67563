// Loaded into Ganache before it starts. Its standard input is a pipe whose other end only the process that started it
// holds: when that process is gone, however it ended, the pipe closes, and Ganache closes its database and ends.
"use strict";

const PATIENCE = 10000; // milliseconds for closing the database

function leave() {
  process.kill(process.pid, "SIGINT");
  setTimeout(() => process.exit(1), PATIENCE).unref();
}

process.stdin.once("end", leave).once("error", leave).resume();
process.stdin.unref(); // Ganache ends when nothing is left to wait for, and this is nothing
