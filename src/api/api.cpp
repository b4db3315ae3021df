// Paths to handlers.
#include "wick/api/api.hpp"

#include <fmt/format.h>

#include <memory>

#include "api/answer.hpp"
#include "api/discovery.hpp"
#include "api/request_path.hpp"
#include "api/resources.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"

namespace wick::api {

namespace {

awaitable<void> not_found(http::Exchange& exchange) {
  co_await respond_failure(exchange, 404, "NotFound", "the server could not find the requested resource");
}

awaitable<void> wrong_method(http::Exchange& exchange) {
  co_await respond_failure(exchange, 405, "MethodNotAllowed",
                           fmt::format("the server does not allow this method on the requested resource: {}",
                                       printable(exchange.head().method)));
}

std::string_view to_string(Check::Level level) {
  switch (level) {
    case Check::Level::ok:
      return "ok";
    case Check::Level::warn:
      return "warn";
    case Check::Level::fail:
      break;
  }
  return "fail";
}

awaitable<void> metrics(const Doors& doors, http::Exchange& exchange) {
  http::ResponseHead head{.status = 200};
  head.fields.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
  co_await exchange.respond(std::move(head), doors.metrics.expose());
}

/// The paths that are no resources. False when it is none of them.
awaitable<bool> handle_plain(const Doors& doors, http::Exchange& exchange, const std::vector<std::string>& segments) {
  if (segments.size() != 1) co_return false;
  const auto& name = segments[0];
  if (name == "healthz" || name == "livez") {
    co_await http::respond_text(exchange, 200, "ok");
  } else if (name == "readyz") {
    const bool ready = !doors.ready || doors.ready();
    co_await http::respond_text(exchange, ready ? 200 : 503, ready ? "ok" : "not ready");
  } else if (name == "version") {
    co_await respond_json(exchange, 200, version_document(doors.info.version));
  } else if (name == "metrics") {
    co_await metrics(doors, exchange);
  } else {
    co_return false;
  }
  co_return true;
}

class Api {
 public:
  explicit Api(Doors doors)
      : doors_(std::move(doors)),
        resources_(doors_.objects, doors_.clock, [&control = doors_.control](std::string name) {
          return control.ensure_namespace(std::move(name));
        }) {}

  awaitable<void> handle(http::Exchange& exchange) {
    const auto segments = path_segments(exchange.head().path());
    if (!segments) {
      co_await respond_failure(exchange, 400, "BadRequest", "the path has a malformed escape");
      co_return;
    }
    const bool plain = co_await handle_plain(doors_, exchange, *segments);
    if (plain) co_return;
    if (segments->size() > 3 && (*segments)[0] == "apis" && (*segments)[1] == "wick.dev" && (*segments)[2] == "v1") {
      co_await handle_wick(doors_, exchange, {segments->begin() + 3, segments->end()});
      co_return;
    }
    if (const auto document = discovery(*segments)) {
      if (exchange.head().method == "GET")
        co_await respond_json(exchange, 200, *document);
      else
        co_await wrong_method(exchange);
      co_return;
    }
    const auto path = parse_resource_path(*segments);
    const auto* kind = path ? model::find_kind(path->group, path->version, path->plural) : nullptr;
    if (!kind) {
      co_await not_found(exchange);
      co_return;
    }
    co_await resources_.handle(exchange, *kind, *path);
  }

 private:
  Doors doors_;
  Resources resources_;
};

}  // namespace

awaitable<void> info(const Doors& doors, http::Exchange& exchange) {
  co_await respond_json(exchange, 200,
                        json::object{{"version", doors.info.version},
                                     {"listen", doors.info.listen},
                                     {"eventsListen", doors.info.events_listen},
                                     {"domain", doors.info.domain}});
}

awaitable<void> doctor(const Doors& doors, http::Exchange& exchange) {
  json::array list;
  if (doors.doctor) {
    auto checks = co_await doors.doctor();
    for (const auto& check : checks)
      list.push_back(
          {{"name", check.name}, {"level", to_string(check.level)}, {"because", check.because}, {"hint", check.hint}});
  }
  co_await respond_json(exchange, 200, list);
}

awaitable<void> handle_wick(const Doors& doors, http::Exchange& exchange, std::vector<std::string> segments) {
  const auto& method = exchange.head().method;
  const auto is = [&](std::size_t size, std::string_view kind, std::string_view verb) {
    return segments.size() == size && segments[0] == "namespaces" && segments[2] == kind &&
           (verb.empty() || segments[4] == verb);
  };
  const bool get = method == "GET";
  const bool post = method == "POST";
  if (segments.size() == 1 && segments[0] == "info")
    co_return co_await (get ? info(doors, exchange) : wrong_method(exchange));
  if (segments.size() == 1 && segments[0] == "doctor")
    co_return co_await (get ? doctor(doors, exchange) : wrong_method(exchange));
  if (is(3, "uploads", {})) co_return co_await (post ? take_upload(doors, exchange) : wrong_method(exchange));
  if (is(3, "ps", {})) co_return co_await (get ? ps(doors, exchange, segments[1]) : wrong_method(exchange));
  if (is(5, "buildruns", "log"))
    co_return co_await (get ? build_run_log(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (is(5, "services", "log"))
    co_return co_await (get ? service_log(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (is(5, "services", "why"))
    co_return co_await (get ? why(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (is(5, "brokers", "events"))
    co_return co_await (get    ? tail_events(doors, exchange, segments[1], segments[3])
                        : post ? publish_event(doors, exchange, segments[1], segments[3])
                               : wrong_method(exchange));
  if (is(5, "brokers", "log"))
    co_return co_await (get ? list_events(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (is(4, "events", {}))
    co_return co_await (get ? why_event(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (is(5, "triggers", "replay"))
    co_return co_await (post ? replay_events(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (is(3, "deadletters", {}))
    co_return co_await (get ? list_dead_letters(doors, exchange, segments[1]) : wrong_method(exchange));
  if (is(4, "deadletters", {}) && (segments[3] == "retry" || segments[3] == "purge"))
    co_return co_await (post ? settle_dead_letters(doors, exchange, segments[1], segments[3]) : wrong_method(exchange));
  if (segments.size() >= 5 && segments[0] == "namespaces" && segments[2] == "services" && segments[4] == "proxy")
    co_return co_await invoke(doors, exchange, segments[1], segments[3]);
  co_await not_found(exchange);
}

http::Handler make_api(Doors doors) {
  auto api = std::make_shared<Api>(std::move(doors));
  return [api](http::Exchange& exchange) { return api->handle(exchange); };
}

}  // namespace wick::api
