# A Rack application: what a request is answered with. Debian's Puma serves it.
who = ENV.fetch("TARGET", "world")

run lambda { |env|
  if env["PATH_INFO"] == "/"
    [200, { "content-type" => "text/plain; charset=utf-8" }, ["hello, #{who}, from Ruby #{RUBY_VERSION}\n"]]
  else
    [404, { "content-type" => "text/plain; charset=utf-8" }, ["not found\n"]]
  end
}
