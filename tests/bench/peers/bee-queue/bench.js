'use strict';
const Queue = require('bee-queue');
const marks = require('../lib/marks.js');

const lean = {getEvents: false, sendEvents: false, storeJobs: false, removeOnSuccess: true};
const options = {redis: {host: '127.0.0.1', port: marks.port}, ...(marks.best ? lean : {})};

async function fill() {
  const queue = new Queue('bench', {...options, isWorker: false});
  await marks.fill((numbers) => queue.saveAll(
      numbers.map((n) => queue.createJob({text: marks.payload(n)}))));
  await queue.close();
}

function work() {
  marks.begin();
  new Queue('bench', options).process(marks.best ? 50 : 1, async (job) => marks.mark(job.data.text));
}

({fill, work})[process.argv[2]]();
