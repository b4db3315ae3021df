// One request: who calls, what the path is, whether they may, the handler, and a row in the audit trail.
#include "wick/api/api.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <memory>

#include "api/access_views.hpp"
#include "api/answer.hpp"
#include "api/core_events.hpp"
#include "api/discovery.hpp"
#include "api/git_host.hpp"
#include "api/image_views.hpp"
#include "api/openapi.hpp"
#include "api/registry.hpp"
#include "api/request_path.hpp"
#include "api/resources.hpp"
#include "api/routes.hpp"
#include "api/seen_deliveries.hpp"
#include "api/views.hpp"
#include "api/wake.hpp"
#include "api/wick_views.hpp"
#include "wick/base/text.hpp"
#include "wick/os/worker.hpp"

namespace wick::api {

namespace {

/// An exchange that remembers how it was answered and who asked.
class ObservedExchange final : public http::Exchange {
 public:
  explicit ObservedExchange(http::Exchange& inner) : inner_(inner), head_(head_without_token(inner.head())) {}

  const http::RequestHead& head() const override { return head_ ? *head_ : inner_.head(); }
  std::string_view peer() const override { return inner_.peer(); }
  long peer_uid() const override { return inner_.peer_uid(); }
  std::string_view id() const override { return inner_.id(); }
  awaitable<Result<std::size_t>> read_some(std::span<char> into) override { return inner_.read_some(into); }
  awaitable<Result<void>> respond(http::ResponseHead head, std::string body) override {
    status = head.status;
    return inner_.respond(std::move(head), std::move(body));
  }
  awaitable<Result<void>> start(http::ResponseHead head) override {
    status = head.status;
    if (status == 101) co_await before_upgrade();
    co_return co_await inner_.start(std::move(head));
  }
  awaitable<Result<void>> write(std::string_view bytes) override { return inner_.write(bytes); }
  awaitable<Result<void>> finish() override { return inner_.finish(); }
  bool started() const override { return inner_.started(); }
  awaitable<void> wait_gone() override { return inner_.wait_gone(); }

  int status = 0;
  Caller caller;
  std::function<awaitable<void>()> before_upgrade;

 private:
  http::Exchange& inner_;
  std::optional<http::RequestHead> head_;  // where the token was in the path: nobody further in sees it
};

awaitable<void> not_found(http::Exchange& exchange) {
  co_await respond_failure(exchange, 404, "NotFound", "the server could not find the requested resource");
}

awaitable<void> wrong_method(http::Exchange& exchange) {
  co_await respond_failure(exchange, 405, "MethodNotAllowed",
                           fmt::format("the server does not allow this method on the requested resource: {}",
                                       printable(exchange.head().method)));
}

bool is_for_registry(http::Exchange& exchange) {
  const auto path = exchange.head().path();
  return path == "/v2" || path.starts_with("/v2/");
}

bool is_for_git(http::Exchange& exchange) { return exchange.head().path().starts_with("/git/"); }

awaitable<void> unauthorized(http::Exchange& exchange, const Error& error) {
  if (is_for_registry(exchange)) {
    image::RegistryFailure failure(
        image::RegistryCode::unauthorized,
        error.what() + "; docker login with any user name, and as its password a token: wick token create");
    co_return co_await respond_registry_failure(exchange, std::move(failure));
  }
  if (is_for_git(exchange))
    co_return co_await respond_git_failure(
        exchange, 401, error.what() + "; any user name, and as its password a token: wick git remote NAME --add");
  http::ResponseHead head{.status = 401};
  head.fields.set("Content-Type", "application/json");
  head.fields.set("WWW-Authenticate", "Bearer");
  auto body = json::serialize(status_object(401, "Unauthorized", error, {})) + "\n";
  co_await exchange.respond(std::move(head), std::move(body));
}

awaitable<void> forbidden(http::Exchange& exchange, const Caller& caller, const std::string& why) {
  if (is_for_registry(exchange)) {
    image::RegistryFailure failure(image::RegistryCode::denied, fmt::format("{}: {}", caller.user, why));
    co_return co_await respond_registry_failure(exchange, std::move(failure));
  }
  if (is_for_git(exchange))
    co_return co_await respond_git_failure(exchange, 403, fmt::format("{}: {}", caller.user, why));
  co_await respond_failure(exchange, 403, "Forbidden",
                           fmt::format("{} {} is forbidden: User \"{}\": {}", exchange.head().method,
                                       printable(exchange.head().path()), caller.user, why));
}

class Api {
 public:
  Api(Doors doors, std::unique_ptr<Tokens> tokens)
      : doors_(std::move(doors)),
        tokens_(std::move(tokens)),
        audit_(doors_.database),
        access_(*tokens_, doors_.clock, {}),
        events_(doors_.objects, doors_.clock),
        resources_(
            doors_.objects, doors_.clock,
            [&control = doors_.control](std::string name) { return control.ensure_namespace(std::move(name)); },
            doors_.admission) {
    resources_.add_view(pod_kind(), [this] { return list_pods(doors_); });
    resources_.add_view(core_service_kind(), [this] { return list_core_services(doors_); });
    resources_.add_view(core_event_kind(), [this] { return events_.list(); });
    resources_.add_view(definition_kind(), [] { return list_definitions(); });
    for (const auto* kind : resources_.kinds())
      served_.push_back(
          {kind, !resources_.is_view(*kind),
           kind == &pod_kind() ? std::vector<std::string_view>{"exec", "log"} : std::vector<std::string_view>{}});
    add_routes();
  }

  awaitable<void> handle(http::Exchange& exchange) {
    ObservedExchange observed(exchange);
    const auto when = doors_.clock.wall();
    // A command is on record before it runs: it may go on for hours, and end with us.
    observed.before_upgrade = [&] { return record(observed, when); };
    co_await answer(observed);
    const auto& method = exchange.head().method;
    const bool reads = method == "GET" || method == "HEAD";
    const bool refused = observed.status == 401 || observed.status == 403;
    if ((reads && !refused) || observed.status == 101) co_return;
    co_await record(observed, when);
  }

 private:
  awaitable<void> record(ObservedExchange& exchange, WallTime when) {
    AuditEntry entry{.when = when,
                     .user = exchange.caller.user,
                     .peer = std::string(exchange.peer()),
                     .method = exchange.head().method,
                     .path = std::string(exchange.head().path()),
                     .status = exchange.status};
    co_await audit_.record(std::move(entry));
  }

  awaitable<void> answer(ObservedExchange& exchange) {
    auto segments = path_segments(exchange.head().path());
    if (!segments) {
      co_await respond_failure(exchange, 400, "BadRequest", "the path has a malformed escape");
      co_return;
    }
    if (auto ours = access_.check_origin(exchange); !ours) {
      co_await respond_error(exchange, ours.error());
      co_return;
    }
    auto caller = co_await access_.identify(exchange);
    if (!caller) {
      if (caller.error().code() == Errc::denied)
        co_await unauthorized(exchange, caller.error());
      else
        co_await respond_failure(exchange, 429, "TooManyRequests", caller.error().message(), caller.error().hint());
      co_return;
    }
    exchange.caller = *caller;
    const auto match = find_route(routes_, exchange.head().method, *segments);
    if (match.route) {
      const bool shared = match.route->scope == Scope::admin || match.route->reach == Reach::machine;
      const Need need{.scope = match.route->scope,
                      .name_space = match.name_space,
                      .everywhere = match.name_space.empty() && shared};
      const bool allowed = co_await authorize(exchange, need);
      if (allowed) co_await match.route->handle(exchange, match);
      co_return;
    }
    if (match.other_method) co_return co_await wrong_method(exchange);
    co_await answer_resource(exchange, std::move(*segments));
  }

  awaitable<bool> authorize(ObservedExchange& exchange, const Need& need) {
    const auto why = refusal(exchange.caller, need);
    if (why.empty()) co_return true;
    if (exchange.caller.scope == Scope::none)
      co_await unauthorized(exchange, Error(Errc::denied, "Unauthorized").hint("send a bearer token: wick kubeconfig"));
    else
      co_await forbidden(exchange, exchange.caller, why);
    co_return false;
  }

  awaitable<void> answer_resource(ObservedExchange& exchange, std::vector<std::string> segments) {
    auto path = parse_resource_path(segments);
    const auto* kind = path ? resources_.find_kind(*path) : nullptr;
    const auto& method = exchange.head().method;
    if (!kind) {
      // Discovery, or nothing: only somebody who may read is told which.
      const bool allowed = co_await authorize(exchange, {.scope = Scope::read, .name_space = {}, .everywhere = false});
      if (!allowed) co_return;
      auto document = discovery(served_, segments);
      if (!document) co_return co_await not_found(exchange);
      if (method != "GET") co_return co_await wrong_method(exchange);
      co_return co_await answer_discovery(exchange, segments, std::move(*document));
    }
    const auto subresource = path->rest.empty() ? std::string() : path->rest.front();
    const bool own_namespace = !kind->namespaced && kind->kind == "Namespace" && method == "GET";
    const auto name_space = own_namespace ? path->name : path->name_space;
    const bool allowed = co_await authorize(
        exchange,
        {.scope = scope_of(*kind, method, subresource), .name_space = name_space, .everywhere = name_space.empty()});
    if (!allowed) co_return;
    if (kind == &pod_kind() && path->rest == std::vector<std::string>{"log"}) {
      if (method != "GET") co_return co_await wrong_method(exchange);
      co_return co_await pod_log(doors_, exchange, path->name_space, path->name);
    }
    // A start is a deed of who may run commands, whatever a reader says of its client.
    if (kind == &pod_kind() && method == "GET" && exchange.caller.scope >= Scope::deploy) {
      auto name = co_await wake_for_command(doors_, exchange, *path);
      if (!name) co_return co_await respond_error(exchange, name.error(), Subject::of(pod_kind(), path->name));
      path->name = std::move(*name);
    }
    auto user = exchange.caller.user;
    co_await resources_.handle(exchange, *kind, *path, std::move(user));
  }

  awaitable<void> answer_discovery(http::Exchange& exchange, const std::vector<std::string>& segments,
                                   json::object document) {
    const auto version = aggregated_version(exchange.head().fields.find("Accept").value_or(""));
    if (segments.size() != 1 || version.empty()) co_return co_await respond_json(exchange, 200, document);
    http::ResponseHead head{.status = 200};
    head.fields.set("Content-Type",
                    fmt::format("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", version));
    auto body = json::serialize(aggregated_discovery(served_, segments[0] == "api", version)) + "\n";
    co_await exchange.respond(std::move(head), std::move(body));
  }

  awaitable<void> ready(http::Exchange& exchange) {
    const bool is_ready = !doors_.ready || doors_.ready();
    co_await http::respond_text(exchange, is_ready ? 200 : 503, is_ready ? "ok" : "not ready");
  }

  awaitable<void> version(http::Exchange& exchange) {
    co_await respond_json(exchange, 200, version_document(doors_.info.version));
  }

  awaitable<void> metrics(http::Exchange& exchange) {
    http::ResponseHead head{.status = 200};
    head.fields.set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    auto body = doors_.metrics.expose();
    co_await exchange.respond(std::move(head), std::move(body));
  }

  awaitable<void> answer_openapi(http::Exchange& exchange, std::vector<std::string> segments) {
    std::vector<const model::Kind*> kinds;
    for (const auto& served : served_) kinds.push_back(served.kind);
    const auto found = openapi(kinds, segments, doors_.info.version);
    if (found)
      co_await respond_json(exchange, 200, *found);
    else
      co_await not_found(exchange);
  }

  static const Caller& caller_of(http::Exchange& exchange) {
    return static_cast<ObservedExchange&>(exchange).caller;  // every exchange of a route is one: see answer()
  }

  void add_routes() {
    const auto alive = [](http::Exchange& exchange, const RouteMatch&) {
      return http::respond_text(exchange, 200, "ok");
    };
    const std::string_view tokens = "/apis/wick.dev/v1/tokens";
    routes_ = {
        {"GET", "/healthz", Scope::none, alive},
        {"GET", "/livez", Scope::none, alive},
        {"GET", "/readyz", Scope::none, [this](auto& exchange, auto&) { return ready(exchange); }},
        {"GET", "/metrics", Scope::read, [this](auto& exchange, auto&) { return metrics(exchange); }},
        {"GET", "/version", Scope::read, [this](auto& exchange, auto&) { return version(exchange); }},
        {"GET", "/openapi/v3/**", Scope::read,
         [this](auto& exchange, auto& match) { return answer_openapi(exchange, match.names); }},
        {"POST", tokens, Scope::admin,
         [this](auto& exchange, auto&) { return create_token(*tokens_, doors_.clock, exchange); }},
        {"GET", tokens, Scope::admin, [this](auto& exchange, auto&) { return list_tokens(*tokens_, exchange); }},
        {"DELETE", "/apis/wick.dev/v1/tokens/{name}", Scope::admin,
         [this](auto& exchange, auto& match) { return revoke_token(*tokens_, exchange, match.names.front()); }},
        {"GET", "/apis/wick.dev/v1/audit", Scope::admin,
         [this](auto& exchange, auto&) { return show_audit(audit_, exchange); }},
        {"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Scope::read,
         [](auto& exchange, auto&) { return review_access(caller_of(exchange), exchange); }},
        {"POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", Scope::read,
         [](auto& exchange, auto&) { return review_self(caller_of(exchange), exchange); }},
    };
    for (const auto method : {"GET", "POST"})
      routes_.push_back(
          {method, "/api/v1/namespaces/{ns}/pods/{name}/exec", Scope::deploy, [this](auto& exchange, auto& match) {
             return pod_exec(doors_, exchange, match.name_space, match.names.front());
           }});
    for (auto& route : wick_routes(doors_)) routes_.push_back(std::move(route));
    for (auto& route : image_routes(doors_)) routes_.push_back(std::move(route));
    for (auto& route : registry_routes(doors_)) routes_.push_back(std::move(route));
    for (auto& route : git_routes(doors_, &caller_of)) routes_.push_back(std::move(route));
  }

  Doors doors_;
  std::unique_ptr<Tokens> tokens_;
  Audit audit_;
  Access access_;
  CoreEvents events_;
  Resources resources_;
  std::vector<Served> served_;
  std::vector<Route> routes_;
};

}  // namespace

std::vector<std::string_view> migrations() {
  return {Tokens::migration(), Audit::migration(), Audit::migration_bound(), SeenDeliveries::migration()};
}

Result<http::Handler> make_api(Doors doors) {
  auto tokens = Tokens::open(doors.database);
  if (!tokens) return fail(std::move(tokens.error()));
  auto api = std::make_shared<Api>(std::move(doors), std::move(*tokens));
  return [api](http::Exchange& exchange) { return api->handle(exchange); };
}

}  // namespace wick::api
