#include "wick/api/webhooks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <boost/json/serialize.hpp>

#include "api/ordered_deploy.hpp"
#include "api/request_path.hpp"
#include "api/seen_deliveries.hpp"
#include "api/webhook.hpp"
#include "api/webhook_event.hpp"
#include "wick/base/log.hpp"
#include "wick/base/text.hpp"
#include "wick/build/git_protocol.hpp"
#include "wick/control/previews.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/os/other_loop.hpp"

namespace wick::api {

namespace {

constexpr std::size_t delivery_bytes_max = 25 << 20;  // GitHub's own limit
constexpr int deliveries_at_once_max = 4;             // their bodies are held whole
constexpr int deliveries_a_minute_max = 60;           // of one webhook that deploys
constexpr int events_a_minute_max = 6'000;            // of one WebhookSource, those that are signed
constexpr std::size_t hooks_counted_max = 1'000;
constexpr int status_not_found = 401;  // nobody is told which names there are

struct HookAddress {
  std::string name_space;
  std::string name;  // of a Secret, or the uid of a WebhookSource
  bool is_source = false;
  std::string text() const { return name_space + (is_source ? "/sources/" : "/") + name; }
};

struct Hook {
  std::string secret;
  Forge forge = Forge::generic;
  std::string service;
  std::string build;
  std::string branch;
  store::ObjectValue source{};  // of a WebhookSource
};

/// What is handed from loop to loop.
struct Delivery {
  HookAddress to;
  http::Fields fields;
  std::string body;
  bool in_private = false;  // over TLS, or without leaving the machine
};
struct HookAnswer {
  int status = 200;
  std::string message;
  std::string run{};
  std::string commit{};
};

HookAnswer refused(int status, std::string message) { return {.status = status, .message = std::move(message)}; }

HookAnswer unknown_hook() {
  return refused(status_not_found,
                 "no webhook takes this delivery: its address or its secret is another (wick webhook ls)");
}

std::optional<HookAddress> address_in(std::string_view path) {
  const auto segments = path_segments(path.substr(model::webhook_paths.size() - 1));
  if (!segments || segments->size() < 2 || !is_dns_label(segments->front()) || !is_dns_subdomain(segments->back()))
    return std::nullopt;
  const bool is_source = segments->size() == 3 && (*segments)[1] == "sources";
  if (segments->size() != 2 && !is_source) return std::nullopt;
  return HookAddress{.name_space = segments->front(), .name = segments->back(), .is_source = is_source};
}

bool stayed_private(const http::Exchange& exchange) {
  const auto peer = exchange.peer();
  return exchange.secure() || exchange.from_trusted_proxy() || exchange.peer_uid() >= 0 || peer.starts_with("127.") ||
         peer == "::1";
}

/// The branch that `ref` is, where another one counts.
std::string other_branch(std::string_view ref, std::string_view counts) {
  constexpr std::string_view branches = "refs/heads/";
  if (counts.empty() || !ref.starts_with(branches) || !build::is_pushable_ref(ref)) return {};
  const auto name = ref.substr(branches.size());
  return name == counts ? std::string() : std::string(name);
}

awaitable<void> send_answer(http::Exchange& exchange, HookAnswer answer) {
  json::object body{{"message", answer.message}};
  if (!answer.run.empty()) body["buildRun"] = answer.run;
  if (!answer.commit.empty()) body["commit"] = answer.commit;
  http::ResponseHead head{.status = answer.status, .fields = {}};
  head.fields.set("Content-Type", "application/json");
  if (answer.status == 405) head.fields.set("Allow", "POST");
  if (answer.status == 429 || answer.status == 503) head.fields.set("Retry-After", "60");
  auto text = json::serialize(body) + "\n";
  co_await exchange.respond(std::move(head), std::move(text));
}

}  // namespace

class Webhooks {
 public:
  Webhooks(Doors doors, std::unique_ptr<SeenDeliveries> seen) : doors_(std::move(doors)), seen_(std::move(seen)) {}

  Executor loop() const { return doors_.executor; }
  /// How many bodies are held, on all loops.
  std::atomic<int>& held() { return held_; }

  std::optional<Hook> find(const HookAddress& address) const {
    if (address.is_source) return find_source(address);
    const auto secret = doors_.objects.find({model::secret_kind().resource(), address.name_space, address.name});
    if (!secret || model::text_at(*secret, {"type"}) != model::webhook_secret_type) return std::nullopt;
    const auto value = [&](std::string_view key) {
      return base64_decode(model::text_at(*secret, {"data", key})).value_or(std::string());
    };
    const auto forge = parse_forge(value("provider"));
    if (!forge) return std::nullopt;
    return Hook{.secret = value("secret"),
                .forge = *forge,
                .service = value("service"),
                .build = value("build"),
                .branch = value("branch")};
  }

  awaitable<HookAnswer> take(Delivery delivery) {
    const auto hook = find(delivery.to);
    if (!hook) co_return unknown_hook();
    const auto name = delivery.to.text();
    if (!has_room(name, hook->source ? events_a_minute_max : deliveries_a_minute_max))
      co_return refused(429, "too many deliveries a minute");
    // Up to 25 MB: not on the loop.
    auto check = [&] { return check_signature(hook->forge, hook->secret, delivery.fields, delivery.body); };
    const auto fits = co_await doors_.workers.run(std::move(check));
    if (!fits) {
      log::warn("webhook refused", {{"webhook", name}, {"because", fits.error().what()}});
      co_return unknown_hook();
    }
    if (hook->forge == Forge::gitlab && !delivery.in_private)
      co_return refused(403, "GitLab's token is only taken over https: it could be read on its way");
    if (hook->source) {
      auto taken = co_await take_event(std::move(delivery), *hook);
      co_return taken;
    }
    const auto event = event_of(hook->forge, delivery.fields);
    if (event == ForgeEvent::ping) co_return refused(200, "pong: pushes will be deployed");
    if (event == ForgeEvent::other) co_return refused(200, "ignored: only pushes are deployed");
    auto read = [&] {
      return std::pair(parse_push_event(delivery.body), marks_of(hook->forge, delivery.fields, delivery.body));
    };
    const auto [push, marks] = co_await doors_.workers.run(std::move(read));
    if (!push) co_return refused(400, push.error().what() + "; " + push.error().hint());
    const auto claim = seen_->claim(name, {marks.number, marks.digest}, doors_.clock.wall());
    if (!claim) co_return refused(200, "ignored: this delivery was here before");
    auto answer = co_await ring(delivery.to, *hook, *push);
    // What was refused may come again. The order stands before the mark: between the two it is the commit that is
    // known.
    if (answer.status < 400) {
      auto kept = co_await seen_->keep(*claim, doors_.clock.wall());
      if (!kept) log::error("a delivery may be taken twice", {{"webhook", name}, {"error", kept.error().what()}});
    }
    log::info("webhook",
              {{"webhook", name}, {"service", hook->service}, {"status", answer.status}, {"said", answer.message}});
    co_return answer;
  }

 private:
  struct Minute {
    std::int64_t number = 0;
    int count = 0;
  };

  std::optional<Hook> find_source(const HookAddress& address) const {
    const auto sources = doors_.objects.list(source_kind().resource(), address.name_space);
    const auto found = std::ranges::find_if(sources, [&](const store::ObjectValue& one) {
      return model::text_at(*one, {"metadata", "uid"}) == address.name;
    });
    if (found == sources.end()) return std::nullopt;
    const auto& source = *found;
    const auto secret = doors_.objects.find({model::secret_kind().resource(), address.name_space,
                                             model::text_at(*source, {"spec", "secret", "ref", "name"})});
    const auto forge = parse_forge(model::text_at(*source, {"spec", "provider"}));
    if (!secret || !forge) return std::nullopt;
    return Hook{.secret = base64_decode(model::text_at(*secret, {"data", "secret"})).value_or(std::string()),
                .forge = *forge,
                .service = {},
                .build = {},
                .branch = {},
                .source = source};
  }

  static const model::Kind& source_kind() { return *model::find_stored_kind("webhooksources.sources.wick.dev"); }

  /// For a WebhookSource: stored before it is answered, and once.
  awaitable<HookAnswer> take_event(Delivery delivery, Hook hook) {
    const auto name = event_name_of(hook.forge, delivery.fields);
    if (event_of(hook.forge, delivery.fields) == ForgeEvent::ping) co_return refused(200, "pong");
    const auto* wanted = model::find_value(*hook.source, {"spec", "events"});
    if (wanted && wanted->is_array() && !wanted->get_array().empty() && !name.empty() &&
        std::ranges::none_of(wanted->get_array(),
                             [&](const json::value& one) { return one.is_string() && one.get_string() == name; }))
      co_return refused(200, fmt::format("ignored: {} is none of the events that are taken", name));
    const store::ObjectKey key{source_kind().resource(), delivery.to.name_space,
                               model::text_at(*hook.source, {"metadata", "name"})};
    const auto own_source = fmt::format("/apis/v1/namespaces/{}/webhooksources/{}", key.name_space, key.name);
    auto read = [&] {
      auto marks = marks_of(hook.forge, delivery.fields, delivery.body);
      auto event = event_of_delivery(hook.forge, delivery.fields, std::move(delivery.body), own_source);
      return std::pair(std::move(marks), std::move(event));
    };
    auto [marks, event] = co_await doors_.workers.run(std::move(read));
    const auto claim = seen_->claim(delivery.to.text(), {marks.number, marks.digest}, doors_.clock.wall());
    if (!claim) co_return refused(200, "ignored: this delivery was here before");
    event.attributes["time"] = to_rfc3339(doors_.clock.wall());
    auto sent = co_await doors_.control.send_from_webhook(key, std::move(event));
    if (!sent) {
      log::warn("webhook refused", {{"webhook", delivery.to.text()}, {"because", sent.error().what()}});
      co_return refused(http_status(sent.error().code()), sent.error().what());
    }
    auto kept = co_await seen_->keep(*claim, doors_.clock.wall());
    if (!kept)
      log::error("a delivery may be taken twice", {{"webhook", delivery.to.text()}, {"error", kept.error().what()}});
    co_return HookAnswer{.status = 202, .message = fmt::format("{} is an event now", name.empty() ? "it" : name)};
  }

  bool has_room(const std::string& hook, int most) {
    const auto minute = std::chrono::duration_cast<std::chrono::minutes>(doors_.clock.now().time_since_epoch()).count();
    if (minutes_.size() >= hooks_counted_max && !minutes_.contains(hook)) minutes_.clear();
    auto& counted = minutes_[hook];
    if (counted.number != minute) counted = {.number = minute, .count = 0};
    return ++counted.count <= most;
  }

  awaitable<HookAnswer> ring(HookAddress address, Hook hook, PushEvent push) {
    if (!doors_.objects.find({model::service_kind().resource(), address.name_space, hook.service}))
      co_return refused(409, fmt::format("the service {} was removed; so should be this webhook: wick webhook rm {}",
                                         hook.service, address.name));
    const auto build = doors_.objects.find({model::build_kind().resource(), address.name_space, hook.build});
    const auto* spec = build ? build->if_contains("spec") : nullptr;
    if (!spec || !spec->is_object() || model::text_at(*build, {"spec", "source", "git", "url"}).empty())
      co_return refused(
          409, fmt::format("the build {} is gone, or has no git source; wick webhook add makes another", hook.build));
    auto branch = hook.branch;
    if (branch.empty()) branch = model::text_at(*build, {"spec", "source", "git", "revision"});
    const auto counts = branch.empty() ? push.default_branch : branch;
    if (const auto other = other_branch(push.ref, counts); !other.empty()) {
      auto answered = co_await ring_preview(address, hook, push, other, *spec);
      if (answered) co_return std::move(*answered);
    }
    if (!counts.empty() && push.ref != "refs/heads/" + counts)
      co_return refused(200, fmt::format("ignored: {} is not the branch {}", printable(push.ref, 200), counts));
    if (counts.empty() && !push.ref.starts_with("refs/heads/"))
      co_return refused(200, fmt::format("ignored: {} is no branch", printable(push.ref, 200)));
    if (push.deletes) co_return refused(200, "ignored: the branch was deleted");
    if (auto run = run_of_commit(doors_, address.name_space, hook.service, push.commit); !run.empty())
      co_return HookAnswer{.message = fmt::format("ignored: {} was built already", push.commit.substr(0, 12)),
                           .run = run,
                           .commit = push.commit};
    DeployOrder order{.name_space = address.name_space,
                      .name = hook.service,
                      .build = spec->get_object(),
                      .commit = push.commit,
                      .user = "webhook"};
    if (!branch.empty()) model::object_at(order.build, {"source", "git"})["revision"] = branch;
    auto ordered = co_await order_deploy(doors_, std::move(order));
    if (!ordered) co_return refused(409, ordered.error().what());
    co_return HookAnswer{.status = 202,
                         .message = fmt::format("{} is built and deployed; wick logs {} --build -f follows it",
                                                counts.empty() ? push.ref : counts, hook.service),
                         .run = ordered->run.name,
                         .commit = push.commit};
  }

  /// A branch besides the one that counts, where the Service previews it; one that was deleted takes its preview along.
  awaitable<std::optional<HookAnswer>> ring_preview(HookAddress address, Hook hook, PushEvent push, std::string branch,
                                                    json::value spec) {
    if (push.deletes) {
      const auto tag = co_await control::remove_preview(doors_.objects, address.name_space, hook.service, branch);
      if (tag.empty()) co_return std::nullopt;
      co_return refused(200, fmt::format("the preview {} of {} is removed", tag, branch));
    }
    const auto service = doors_.objects.find({model::service_kind().resource(), address.name_space, hook.service});
    if (!service ||
        !model::is_previewed(model::text_at(*service, {"metadata", "annotations", model::names::previews}), branch))
      co_return std::nullopt;
    if (auto run = run_of_commit(doors_, address.name_space, hook.service, push.commit, branch); !run.empty())
      co_return HookAnswer{.message = fmt::format("ignored: {} was built already", push.commit.substr(0, 12)),
                           .run = run,
                           .commit = push.commit};
    DeployOrder order{.name_space = address.name_space,
                      .name = hook.service,
                      .build = spec.get_object(),
                      .commit = push.commit,
                      .user = "webhook",
                      .preview = model::PreviewOrder{.service = hook.service, .branch = branch}};
    model::object_at(order.build, {"source", "git"})["revision"] = branch;
    auto ordered = co_await order_deploy(doors_, std::move(order));
    if (!ordered) co_return refused(409, fmt::format("{}; {}", ordered.error().what(), ordered.error().hint()));
    co_return HookAnswer{
        .status = 202,
        .message = fmt::format("{} is built and becomes a preview; wick preview ls {} shows it", branch, hook.service),
        .run = ordered->run.name,
        .commit = push.commit};
  }

  const Doors doors_;
  const std::unique_ptr<SeenDeliveries> seen_;
  std::map<std::string, Minute, std::less<>> minutes_;
  std::atomic<int> held_ = 0;
};

namespace {

struct HeldBody {
  explicit HeldBody(std::atomic<int>& all) : held(all), fits(++all <= deliveries_at_once_max) {}
  HeldBody(const HeldBody&) = delete;
  ~HeldBody() { --held; }
  std::atomic<int>& held;
  bool fits;
};

awaitable<void> answer_delivery(std::shared_ptr<Webhooks> webhooks, http::Exchange& exchange) {
  const auto address = address_in(exchange.head().path());
  if (!address) co_return co_await send_answer(exchange, unknown_hook());
  if (exchange.head().method != "POST") co_return co_await send_answer(exchange, refused(405, "forges send a POST"));
  // The body of a delivery that nobody waits for is not read.
  auto look = [webhooks, to = *address]() -> awaitable<bool> { co_return webhooks->find(to).has_value(); };
  const bool known = co_await on_loop<bool>(webhooks->loop(), std::move(look));
  if (!known) co_return co_await send_answer(exchange, unknown_hook());
  const HeldBody room(webhooks->held());
  if (!room.fits) co_return co_await send_answer(exchange, refused(503, "too many deliveries at once"));
  const auto too_much = refused(413, fmt::format("a delivery has at most {}", human_bytes(delivery_bytes_max)));
  const auto announced = parse_unsigned(exchange.head().fields.find("Content-Length").value_or("0"));
  if (announced.value_or(0) > delivery_bytes_max) co_return co_await send_answer(exchange, too_much);
  auto body = co_await exchange.read_all(delivery_bytes_max);
  if (!body && body.error().code() == Errc::too_large) co_return co_await send_answer(exchange, too_much);
  if (!body) {
    const bool slow = body.error().code() == Errc::timed_out;
    co_return co_await send_answer(exchange,
                                   refused(slow ? 408 : http_status(body.error().code()), body.error().what()));
  }
  Delivery delivery{.to = *address,
                    .fields = exchange.head().fields,
                    .body = std::move(*body),
                    .in_private = stayed_private(exchange)};
  auto take = [webhooks, delivery = std::move(delivery)]() mutable { return webhooks->take(std::move(delivery)); };
  auto answer = co_await on_loop<HookAnswer>(webhooks->loop(), std::move(take));
  co_await send_answer(exchange, std::move(answer));
}

}  // namespace

Result<std::shared_ptr<Webhooks>> make_webhooks(Doors doors) {
  auto seen = SeenDeliveries::open(doors.database, doors.clock.wall());
  if (!seen) return fail(std::move(seen.error()));
  return std::make_shared<Webhooks>(std::move(doors), std::move(*seen));
}

http::Handler answering_webhooks(std::shared_ptr<Webhooks> webhooks, http::Handler next) {
  return [webhooks = std::move(webhooks), next = std::move(next)](http::Exchange& exchange) -> awaitable<void> {
    if (!exchange.head().path().starts_with(model::webhook_paths)) return next(exchange);
    return answer_delivery(webhooks, exchange);
  };
}

}  // namespace wick::api
