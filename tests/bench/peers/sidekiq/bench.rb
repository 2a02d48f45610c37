require 'sidekiq'
require 'redis/connection/hiredis' if ENV['BENCH_VARIANT'] == 'best'
require_relative '../lib/marks'

redis = { url: "redis://127.0.0.1:#{Marks::PORT}/0" }
Sidekiq.configure_client { |config| config.redis = redis }
Sidekiq.configure_server do |config|
  config.redis = redis
  config.logger.level = Logger::WARN if Marks::BEST
  Marks.begin
end

class Noop
  include Sidekiq::Worker
  sidekiq_options queue: 'bench'

  def perform(text)
    Marks.mark(text)
  end
end

if ARGV == ['fill']
  (0...Marks::JOBS).each_slice(1000) do |numbers|
    Sidekiq::Client.push_bulk('class' => Noop, 'args' => numbers.map { |n| [Marks.payload(n)] })
  end
end
