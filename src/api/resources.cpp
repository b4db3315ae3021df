// Which verb a request is, and the two that only read: get and list.
#include "api/resources.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "api/answer.hpp"
#include "api/selectors.hpp"
#include "wick/base/text.hpp"
#include "wick/model/object_reader.hpp"

namespace wick::api {

Resources::Resources(store::Objects& objects, Clock& clock, EnsureNamespace ensure_namespace,
                     model::AdmissionPolicy policy)
    : objects_(objects), clock_(clock), ensure_namespace_(std::move(ensure_namespace)), policy_(policy) {}

void Resources::add_view(const model::Kind& kind, ViewCollection::Look look) {
  views_.push_back(&kind);
  collections_[&kind] = std::make_unique<ViewCollection>(kind, clock_, std::move(look));
}

const model::Kind* Resources::find_kind(const ResourcePath& path) const {
  for (const auto* view : views_)
    if (view->group == path.group && view->version == path.version && view->plural == path.plural) return view;
  return model::find_kind(path.group, path.version, path.plural);
}

std::vector<const model::Kind*> Resources::kinds() const {
  auto all = views_;
  for (const auto& kind : model::kinds()) all.push_back(&kind);
  return all;
}

bool Resources::is_view(const model::Kind& kind) const { return std::ranges::find(views_, &kind) != views_.end(); }

Collection& Resources::collection(const model::Kind& kind) {
  auto& found = collections_[&kind];
  if (!found) found = std::make_unique<StoredCollection>(objects_, kind);
  return *found;
}

json::object Resources::in_version(const model::Kind& kind, const json::object& stored) const {
  json::object object = stored;
  if (!kind.stored) model::from_stored(kind, object);
  return object;
}

awaitable<void> Resources::handle(http::Exchange& exchange, const model::Kind& kind, ResourcePath path,
                                  std::string user) {
  const auto& method = exchange.head().method;
  const bool is_status = path.rest.size() == 1 && path.rest[0] == "status" && kind.has_status;
  const bool one = !path.name.empty();
  if ((!path.rest.empty() && !is_status) || (!kind.namespaced && !path.name_space.empty()) ||
      (one && kind.namespaced && path.name_space.empty())) {
    co_await respond_failure(exchange, 404, "NotFound", "the server could not find the requested resource");
    co_return;
  }
  const bool writable = !is_view(kind);
  const bool may_create =
      writable && &kind != &model::revision_kind() && (!kind.namespaced || !path.name_space.empty());
  Call call{exchange, kind, std::move(path), std::move(user)};
  if (method == "GET" && one) co_return co_await get(std::move(call));
  if (method == "GET" && call.asks("watch")) co_return co_await watch(std::move(call));
  if (method == "GET") co_return co_await list(std::move(call));
  if (writable && is_status && (method == "PUT" || method == "PATCH")) co_return co_await write_status(std::move(call));
  if (writable && !is_status) {
    // Only a Configuration makes revisions (Knative API specification: create FORBIDDEN).
    if (method == "POST" && !one && may_create) co_return co_await create(std::move(call));
    if (method == "PUT" && one) co_return co_await replace(std::move(call));
    if (method == "PATCH" && one) co_return co_await patch(std::move(call));
    if (method == "DELETE" && one) co_return co_await remove(std::move(call));
    if (method == "DELETE") co_return co_await remove_collection(std::move(call));
  }
  co_await respond_failure(
      exchange, 405, "MethodNotAllowed",
      fmt::format("the server does not allow this method on the requested resource: {}", printable(method)));
}

awaitable<void> Resources::get(Call call) {
  const auto object = collection(call.kind).find(call.path.name_space, call.path.name);
  if (object)
    co_await answer(call, 200, *object);
  else
    co_await respond_error(call.exchange, Error(Errc::not_found, "not found"), Subject::of(call.kind, call.path.name));
}

namespace {

/// Where a list goes on: which snapshot, and from which of its objects.
struct Continuation {
  std::string snapshot;
  std::size_t at = 0;

  std::string text() const { return base64_encode(fmt::format("{}:{}", snapshot, at)); }
  static std::optional<Continuation> parse(std::string_view text) {
    const auto decoded = base64_decode(text);
    const auto colon = decoded ? decoded->find(':') : std::string::npos;
    const auto at = colon == std::string::npos ? std::nullopt : parse_unsigned(decoded->substr(colon + 1));
    if (!at) return std::nullopt;
    return Continuation{decoded->substr(0, colon), static_cast<std::size_t>(*at)};
  }
};

}  // namespace

awaitable<void> Resources::list(Call call) {
  const auto selector = Selector::parse(call.query("labelSelector"), call.query("fieldSelector"), call.kind.resource());
  if (!selector) {
    co_await respond_error(call.exchange, selector.error());
    co_return;
  }
  const auto shown =
      Representation::of(call.exchange.head().fields.find("Accept").value_or(""), call.query("includeObject"));
  auto& source = collection(call.kind);
  const auto limit = static_cast<std::size_t>(parse_unsigned(call.query("limit")).value_or(0));
  Snapshot snapshot;
  std::size_t at = 0;
  if (const auto token = call.query("continue"); !token.empty()) {
    const auto continuation = Continuation::parse(token);
    const auto kept = std::ranges::find(snapshots_, continuation ? continuation->snapshot : "", &Snapshot::id);
    if (!continuation || kept == snapshots_.end() || continuation->at > kept->objects.size()) {
      co_await respond_failure(call.exchange, continuation ? 410 : 400, continuation ? "Expired" : "BadRequest",
                               continuation ? "The provided continue parameter is too old to display a consistent list "
                                              "result. You must start a new list without the continue parameter."
                                            : "continue key is not valid");
      co_return;
    }
    snapshot = *kept;
    at = continuation->at;
  } else {
    for (auto& object : source.list(call.path.name_space))
      if (selector->matches(*object)) snapshot.objects.push_back(std::move(object));
    snapshot.version = source.version();
  }
  const auto end = limit == 0 ? snapshot.objects.size() : std::min(at + limit, snapshot.objects.size());
  json::object metadata{{"resourceVersion", std::to_string(snapshot.version)}};
  if (end < snapshot.objects.size()) {
    metadata["remainingItemCount"] = snapshot.objects.size() - end;
    if (snapshot.id.empty()) {
      snapshot.id = random_hex(8);
      snapshots_.push_back(snapshot);
      if (snapshots_.size() > snapshots_max) snapshots_.pop_front();
    }
    metadata["continue"] = Continuation{snapshot.id, end}.text();
  }
  const std::span page(snapshot.objects.begin() + static_cast<std::ptrdiff_t>(at), end - at);
  http::ResponseHead head{.status = 200};
  head.fields.set("Content-Type", "application/json");
  auto body = shown.list_text(call.kind, page, std::move(metadata), clock_.wall()) + "\n";
  co_await call.exchange.respond(std::move(head), std::move(body));
}

awaitable<void> Resources::answer(const Call& call, int status, const json::object& object,
                                  std::vector<std::string> warnings) {
  const auto shown =
      Representation::of(call.exchange.head().fields.find("Accept").value_or(""), call.query("includeObject"));
  http::ResponseHead head{.status = status};
  head.fields.set("Content-Type", "application/json");
  for (const auto& warning : warnings) {
    std::string quoted;
    for (const char c : printable(warning, 1000)) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    head.fields.add("Warning", fmt::format("299 - \"{}\"", quoted));
  }
  const auto value = shown.show(call.kind, in_version(call.kind, object), clock_.wall());
  auto body = json::serialize(value) + "\n";
  co_await call.exchange.respond(std::move(head), std::move(body));
}

}  // namespace wick::api
