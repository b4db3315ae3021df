#include "app/cli/watch.hpp"

#include <fmt/format.h>

#include "wick/http/message.hpp"

namespace wick::app::cli {

namespace {

constexpr milliseconds rewatch_delay{100};  // so that a daemon that ends every watch at once is not hammered

Problem gone(std::string_view name) {
  return {.exit = ExitCode::not_found,
          .what = fmt::format("{} was removed meanwhile", name),
          .slug = "E_NOT_FOUND",
          .hint = "wick ps lists what there is"};
}

}  // namespace

Problem superseded() {
  return {.exit = ExitCode::interrupted, .what = "something newer took its place", .slug = "E_INTERRUPTED"};
}

Outcome<json::value> await_object(Session& session, std::string collection, std::string name,
                                  std::function<bool(const json::value&)> done, WatchOptions options) {
  const auto deadline = std::chrono::steady_clock::now() + options.limit;
  const auto late = [&] { return std::chrono::steady_clock::now() >= deadline; };
  while (!late()) {
    auto object = session.client.get(collection + "/" + http::percent_encode(name));
    if (!object) return stop_with(std::move(object.error()));
    if (options.on_change) options.on_change(*object);
    if (done(*object)) return object;

    bool is_done = false, is_gone = false, is_superseded = false;
    const auto on_line = [&](const json::value& event) {
      const auto type = text_at(event, "/type");
      if (type == "ERROR") return Client::Next::stop;  // 410 Gone: read again and watch from there
      const auto* changed = find_at(event, "/object");
      if (!changed || type == "BOOKMARK" || text_at(*changed, "/metadata/name") != name) return Client::Next::go_on;
      is_gone = type == "DELETED";
      *object = *changed;
      if (!is_gone && options.on_change) options.on_change(*object);
      is_done = !is_gone && done(*object);
      return is_done || is_gone ? Client::Next::stop : Client::Next::go_on;
    };
    const auto on_tick = [&] {
      if (options.on_tick) options.on_tick();
      is_superseded = options.superseded && options.superseded();
      return is_superseded || late() ? Client::Next::stop : Client::Next::go_on;
    };
    const auto target = fmt::format("{}?watch=true&resourceVersion={}&fieldSelector={}", collection,
                                    http::percent_encode(text_at(*object, "/metadata/resourceVersion")),
                                    http::percent_encode("metadata.name=" + name));
    auto watched = session.client.follow(target, on_line, on_tick);
    if (is_done) return object;
    if (is_gone) return stop_with(gone(name));
    if (is_superseded) return stop_with(superseded());
    if (!watched && watched.error().slug != "E_EXPIRED") return stop_with(std::move(watched.error()));
    if (auto waited = session.client.pause(rewatch_delay); !waited) return stop_with(std::move(waited.error()));
  }
  return stop_with({.exit = ExitCode::timed_out,
                    .what = fmt::format("{} did not come to an end in {}", name, human_duration(options.limit)),
                    .slug = "E_TIMED_OUT",
                    .hint = fmt::format("it goes on; wick why {} tells where it is", name)});
}

}  // namespace wick::app::cli
