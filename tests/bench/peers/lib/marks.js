// The no-op job's side of measure.py, for peers on Node.js.
'use strict';
const fs = require('fs');

const jobs = Number(process.env.BENCH_JOBS);
const port = Number(process.env.BENCH_REDIS_PORT);
const best = process.env.BENCH_VARIANT === 'best';

let marks = [];

function payload(number) {
  return String(number).padStart(8, '0').padEnd(200, 'x');
}

// The job.
function mark(text) {
  marks.push(BigInt(text.slice(0, 8)), process.hrtime.bigint());
}

function begin() {
  const file = fs.openSync(`${process.env.BENCH_MARKS}/${process.pid}`, 'a');
  setInterval(() => {
    if (marks.length > 0) fs.writeSync(file, new Uint8Array(BigUint64Array.from(marks).buffer));
    marks = [];
  }, 100);
  process.on('SIGTERM', () => process.exit(0));
}

// Calls add(numbers) for 0 .. jobs-1, a thousand at a time.
async function fill(add) {
  for (let from = 0; from < jobs; from += 1000) {
    const count = Math.min(1000, jobs - from);
    await add(Array.from({length: count}, (_, i) => from + i));
  }
}

module.exports = {jobs, port, best, payload, mark, begin, fill};
