# The no-op job's side of measure.py, for peers in Ruby.
module Marks
  JOBS = Integer(ENV.fetch('BENCH_JOBS'))
  PORT = Integer(ENV.fetch('BENCH_REDIS_PORT'))
  BEST = ENV.fetch('BENCH_VARIANT') == 'best'
  @marks = Queue.new

  def self.payload(number)
    format('%08d', number).ljust(200, 'x')
  end

  # The job. Any thread.
  def self.mark(text)
    @marks << [text[0, 8].to_i, Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)]
  end

  def self.begin
    file = File.open("#{ENV.fetch('BENCH_MARKS')}/#{Process.pid}", 'ab')
    file.sync = true
    Thread.new do
      loop do
        sleep 0.1
        words = []
        words.concat(@marks.pop) until @marks.empty?
        file.write(words.pack('Q<*'))
      end
    end
  end
end
