// The table of Wick's own paths.
#include "api/wick_views.hpp"

#include "api/answer.hpp"
#include "wick/os/files.hpp"

namespace wick::api {

namespace {

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

awaitable<void> info(const Doors& doors, http::Exchange& exchange) {
  co_await respond_json(exchange, 200,
                        json::object{{"version", doors.info.version},
                                     {"listen", doors.info.listen},
                                     {"httpsListen", doors.info.https_listen},
                                     {"eventsListen", doors.info.events_listen},
                                     {"apiListen", doors.info.api_listen},
                                     {"authority", doors.info.api_authority},
                                     {"domain", doors.info.domain},
                                     {"secretKey", doors.info.secret_key}});
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

/// Every builder's file and what they embed, as they are: name → text.
awaitable<void> builders(const Doors& doors, http::Exchange& exchange) {
  auto read = [folder = doors.builders]() -> Result<json::object> {
    constexpr std::size_t bytes_max = 1 << 20;
    json::object files;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
      auto text = read_file(at->path(), bytes_max);
      if (!text) return fail(std::move(text.error()));
      files[at->path().filename().string()] = std::move(*text);
    }
    if (error) return fail(system_error("read the builders", error.value()));
    return files;
  };
  auto files = co_await doors.workers.run(std::move(read));
  if (!files) {
    co_await respond_error(exchange, files.error());
    co_return;
  }
  co_await respond_json(exchange, 200, json::object{{"bases", doors.bases}, {"files", std::move(*files)}});
}

}  // namespace

std::vector<Route> wick_routes(const Doors& doors) {
  using Whole = awaitable<void> (*)(const Doors&, http::Exchange&);
  using Named = awaitable<void> (*)(const Doors&, http::Exchange&, std::string, std::string);
  const auto whole = [&doors](Whole handler) {
    return [&doors, handler](http::Exchange& exchange, const RouteMatch&) { return handler(doors, exchange); };
  };
  const auto named = [&doors](Named handler) {
    return [&doors, handler](http::Exchange& exchange, const RouteMatch& match) {
      return handler(doors, exchange, match.name_space, match.names.front());
    };
  };
  using OfNamespace = awaitable<void> (*)(const Doors&, http::Exchange&, std::string);
  const auto in_namespace = [&doors](OfNamespace handler) {
    return [&doors, handler](http::Exchange& exchange, const RouteMatch& match) {
      return handler(doors, exchange, match.name_space);
    };
  };
  const auto settle = [&doors](std::string verb) {
    return [&doors, verb](http::Exchange& exchange, const RouteMatch& match) {
      return settle_dead_letters(doors, exchange, match.name_space, verb);
    };
  };
  return {
      {"GET", "/apis/wick.dev/v1/info", Scope::read, whole(info)},
      {"GET", "/apis/wick.dev/v1/doctor", Scope::read, whole(doctor)},
      {"GET", "/apis/wick.dev/v1/builders", Scope::read, whole(builders)},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/uploads", Scope::deploy, whole(take_upload)},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/buildsecrets", Scope::deploy, in_namespace(take_build_secrets)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/ps", Scope::read, in_namespace(ps)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/buildruns/{name}/log", Scope::read, named(build_run_log)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/services/{name}/log", Scope::read, named(service_log)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/services/{name}/why", Scope::read, named(why)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/brokers/{name}/events", Scope::read, named(tail_events)},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/brokers/{name}/events", Scope::deploy, named(publish_event)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/brokers/{name}/log", Scope::read, named(list_events)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/events/{name}", Scope::read, named(why_event)},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/triggers/{name}/replay", Scope::deploy, named(replay_events)},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/sendertokens", Scope::deploy, in_namespace(make_sender_token)},
      {"GET", "/apis/wick.dev/v1/namespaces/{ns}/deadletters", Scope::read, in_namespace(list_dead_letters)},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/deadletters/retry", Scope::deploy, settle("retry")},
      {"POST", "/apis/wick.dev/v1/namespaces/{ns}/deadletters/purge", Scope::deploy, settle("purge")},
      {"*", "/apis/wick.dev/v1/namespaces/{ns}/services/{name}/proxy/**", Scope::deploy, named(invoke)},
  };
}

}  // namespace wick::api
