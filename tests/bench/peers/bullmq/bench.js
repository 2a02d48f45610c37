'use strict';
const {Queue, Worker} = require('bullmq');
const marks = require('../lib/marks.js');

const connection = {host: '127.0.0.1', port: marks.port};

async function fill() {
  const queue = new Queue('bench', {connection});
  const opts = marks.best ? {removeOnComplete: true} : {};
  await marks.fill((numbers) => queue.addBulk(
      numbers.map((n) => ({name: 'noop', data: {text: marks.payload(n)}, opts}))));
  await queue.close();
}

function work() {
  marks.begin();
  const options = marks.best ? {connection, concurrency: 50} : {connection};
  new Worker('bench', async (job) => marks.mark(job.data.text), options);
}

({fill, work})[process.argv[2]]();
