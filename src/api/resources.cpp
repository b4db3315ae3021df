#include "api/resources.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "api/answer.hpp"
#include "api/selectors.hpp"
#include "wick/base/text.hpp"
#include "wick/model/admission.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/yaml.hpp"

namespace wick::api {

namespace {

constexpr int write_attempts = 5;  // of a patch that names no version, against other writers

store::ObjectKey key_of(const model::Kind& kind, const ResourcePath& path) {
  return {kind.resource(), path.name_space, path.name};
}

std::string query(const http::Exchange& exchange, std::string_view name) {
  return http::query_value(exchange.head().query(), name).value_or(std::string());
}

bool is_true(std::string_view text) { return text == "true" || text == "1"; }

std::string media_type(const http::Exchange& exchange) {
  const auto field = exchange.head().fields.find("Content-Type").value_or(std::string_view());
  return to_lower(trim(field.substr(0, field.find(';'))));
}

std::uint64_t version_of(const json::object& object) {
  return parse_unsigned(model::text_at(object, {"metadata", "resourceVersion"})).value_or(0);
}

/// Body as a JSON value. Errors: invalid, too_large, unsupported (media type).
awaitable<Result<json::value>> read_body(http::Exchange& exchange) {
  auto body = co_await exchange.read_all(body_bytes_max);
  if (!body) co_return fail(std::move(body.error()));
  if (media_type(exchange).ends_with("yaml")) {
    auto documents = model::parse_yaml(*body);
    if (!documents) co_return fail(std::move(documents.error()));
    if (documents->size() != 1)
      co_return fail(Errc::invalid, fmt::format("the body has {} YAML documents, one is wanted", documents->size()));
    co_return std::move(documents->front());
  }
  json::parse_options options;
  options.max_depth = 64;
  boost::system::error_code error;
  auto value = json::parse(*body, error, {}, options);
  if (error) co_return fail(Errc::invalid, fmt::format("the body is not JSON: {}", error.message()));
  co_return value;
}

awaitable<Result<json::object>> read_object(http::Exchange& exchange) {
  auto value = co_await read_body(exchange);
  if (!value) co_return fail(std::move(value.error()));
  if (!value->is_object()) co_return fail(Errc::invalid, "the body is not an object");
  co_return std::move(value->get_object());
}

std::string random_suffix() {
  // Kubernetes' alphabet: no vowels, so no words.
  constexpr std::string_view alphabet = "bcdfghjklmnpqrstvwxz2456789";
  const auto hex = random_hex(5);
  std::string suffix;
  for (std::size_t i = 0; i < 5; ++i) {
    unsigned byte = 0;
    for (const char c : hex.substr(2 * i, 2))
      byte = byte * 16 + static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10);
    suffix += alphabet[byte % alphabet.size()];
  }
  return suffix;
}

/// What the URL says, in the object; what only the server may say, out of it. Errors: invalid where the two differ.
Result<void> settle_identity(json::object& object, const model::Kind& kind, const ResourcePath& path) {
  const auto given = [&](std::string_view key) { return model::text_at(object, {key}); };
  if (const auto version = given("apiVersion"); !version.empty() && version != kind.api_version())
    return fail(Errc::invalid,
                fmt::format("the API version in the data ({}) does not match the expected API version ({})",
                            printable(version), kind.api_version()));
  if (const auto name = given("kind"); !name.empty() && name != kind.kind)
    return fail(Errc::invalid, fmt::format("the kind in the data ({}) does not match the expected kind ({})",
                                           printable(name), kind.kind));
  object["apiVersion"] = kind.api_version();
  object["kind"] = kind.kind;
  auto* found = model::object_if(object, {"metadata"});
  if (!found) return fail(Errc::invalid, "metadata is not an object");
  auto& metadata = *found;
  for (const auto key : {"uid", "creationTimestamp", "generation", "managedFields", "selfLink", "deletionTimestamp"})
    metadata.erase(key);
  if (kind.namespaced) {
    const auto name_space = model::text_at(metadata, {"namespace"});
    if (!name_space.empty() && name_space != path.name_space)
      return fail(Errc::invalid,
                  "the namespace of the provided object does not match the namespace sent on the request");
    metadata["namespace"] = path.name_space;
  } else {
    metadata.erase("namespace");
  }
  const auto name = model::text_at(metadata, {"name"});
  if (!path.name.empty() && !name.empty() && name != path.name)
    return fail(Errc::invalid, fmt::format("the name of the object ({}) does not match the name on the URL ({})",
                                           printable(name), printable(path.name)));
  if (!path.name.empty()) metadata["name"] = path.name;
  return {};
}

std::string user_of(const http::Exchange& exchange) {
  const auto uid = exchange.peer_uid();
  return uid < 0 ? "anonymous" : uid == 0 ? "root" : fmt::format("uid:{}", uid);
}

json::value event(std::string_view type, const json::value& object) { return {{"type", type}, {"object", object}}; }

std::string_view event_type(store::Change::Type type) {
  switch (type) {
    case store::Change::Type::added:
      return "ADDED";
    case store::Change::Type::modified:
      return "MODIFIED";
    case store::Change::Type::deleted:
      break;
  }
  return "DELETED";
}

}  // namespace

void merge_patch(json::value& target, const json::value& patch) {
  const auto* fields = patch.if_object();
  if (!fields) {
    target = patch;
    return;
  }
  if (!target.is_object()) target.emplace_object();
  auto& object = target.get_object();
  for (const auto& [key, value] : *fields) {
    if (value.is_null())
      object.erase(key);
    else
      merge_patch(object[key], value);
  }
}

awaitable<void> Resources::handle(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  const auto& method = exchange.head().method;
  const bool is_status = path.rest.size() == 1 && path.rest[0] == "status" && method == "GET";
  if ((!path.rest.empty() && !is_status) || (!kind.namespaced && !path.name_space.empty())) {
    co_await respond_failure(exchange, 404, "NotFound", "the server could not find the requested resource");
    co_return;
  }
  if (path.name.empty()) {
    if (method == "GET") {
      if (is_true(query(exchange, "watch")))
        co_await watch(exchange, kind, std::move(path));
      else
        co_await list(exchange, kind, std::move(path));
      co_return;
    }
    // Only a Configuration makes revisions (Knative API specification: create FORBIDDEN).
    if (method == "POST" && &kind != &model::revision_kind() && (!kind.namespaced || !path.name_space.empty())) {
      co_await create(exchange, kind, std::move(path));
      co_return;
    }
  } else if (!kind.namespaced || !path.name_space.empty()) {
    if (method == "GET") co_return co_await get(exchange, kind, std::move(path));
    if (method == "PUT") co_return co_await replace(exchange, kind, std::move(path));
    if (method == "PATCH") co_return co_await patch(exchange, kind, std::move(path));
    if (method == "DELETE") co_return co_await remove(exchange, kind, std::move(path));
  }
  co_await respond_failure(
      exchange, 405, "MethodNotAllowed",
      fmt::format("the server does not allow this method on the requested resource: {}", printable(method)));
}

awaitable<void> Resources::get(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  const auto object = objects_.find(key_of(kind, path));
  if (object)
    co_await respond_json(exchange, 200, *object);
  else
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(kind, path.name));
}

awaitable<void> Resources::list(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  const auto selector = Selector::parse(query(exchange, "labelSelector"), query(exchange, "fieldSelector"));
  if (!selector) {
    co_await respond_error(exchange, selector.error());
    co_return;
  }
  json::array items;
  for (const auto& object : objects_.list(kind.resource(), path.name_space))
    if (selector->matches(*object)) items.push_back(*object);
  co_await respond_json(exchange, 200,
                        json::object{{"apiVersion", kind.api_version()},
                                     {"kind", std::string(kind.kind) + "List"},
                                     {"metadata", {{"resourceVersion", std::to_string(objects_.version())}}},
                                     {"items", std::move(items)}});
}

namespace {

/// What one watcher still has to be told. A change that makes an object leave the selection is a deletion for this
/// watcher.
class WatchQueue {
 public:
  static constexpr std::size_t queue_max = 10'000;  // a watcher that slow is cut and lists again

  WatchQueue(std::string resource, std::string name_space, Selector selector)
      : resource_(std::move(resource)), name_space_(std::move(name_space)), selector_(std::move(selector)) {}

  void already_known(const store::ObjectKey& key) { selected_.insert(key); }
  bool selects(const json::object& object) const { return selector_.matches(object); }

  void add(const store::Change& change) {
    if (change.key.resource != resource_ || (!name_space_.empty() && change.key.name_space != name_space_)) return;
    const bool was = selected_.contains(change.key);
    const bool is = change.type != store::Change::Type::deleted && selector_.matches(*change.object);
    if (!was && !is) return;
    is ? (void)selected_.insert(change.key) : (void)selected_.erase(change.key);
    const auto type = !was ? "ADDED" : !is ? "DELETED" : event_type(change.type);
    push(json::serialize(event(type, *change.object)) + "\n");
  }
  void push(std::string line) {
    if (lines_.size() >= queue_max) overflowed_ = true;
    if (!overflowed_) lines_.push_back(std::move(line));
  }

  bool overflowed() const { return overflowed_; }
  std::string take() {
    std::string text;
    for (const auto& line : lines_) text += line;
    lines_.clear();
    return text;
  }

 private:
  std::string resource_;
  std::string name_space_;
  Selector selector_;
  std::set<store::ObjectKey> selected_;
  std::vector<std::string> lines_;
  bool overflowed_ = false;
};

}  // namespace

awaitable<void> Resources::watch(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  auto selector = Selector::parse(query(exchange, "labelSelector"), query(exchange, "fieldSelector"));
  if (!selector) {
    co_await respond_error(exchange, selector.error());
    co_return;
  }
  WatchQueue queue(kind.resource(), path.name_space, std::move(*selector));
  const auto from = query(exchange, "resourceVersion");
  const auto version = parse_unsigned(from).value_or(0);
  if (version == 0) {
    for (const auto& object : objects_.list(kind.resource(), path.name_space))
      if (queue.selects(*object)) {
        queue.already_known({kind.resource(), model::text_at(*object, {"metadata", "namespace"}),
                             model::text_at(*object, {"metadata", "name"})});
        queue.push(json::serialize(event("ADDED", *object)) + "\n");
      }
  } else {
    const auto changes = objects_.changes_since(version);
    if (!changes) {
      co_await respond_failure(exchange, 410, "Expired",
                               fmt::format("too old resource version: {} ({})", version, objects_.version()));
      co_return;
    }
    // What was there at `version`: what is there now, but for what these changes brought, and with what they took.
    std::set<store::ObjectKey> seen;
    for (const auto& change : *changes) {
      if (seen.insert(change.key).second && change.type != store::Change::Type::added) queue.already_known(change.key);
    }
    for (const auto& object : objects_.list(kind.resource(), path.name_space)) {
      const store::ObjectKey key{kind.resource(), model::text_at(*object, {"metadata", "namespace"}),
                                 model::text_at(*object, {"metadata", "name"})};
      if (!seen.contains(key) && queue.selects(*object)) queue.already_known(key);
    }
    for (const auto& change : *changes) queue.add(change);
  }

  std::optional<Duration> limit;
  if (const auto seconds = parse_unsigned(query(exchange, "timeoutSeconds")); seconds && *seconds > 0)
    limit = std::chrono::seconds(std::min<std::uint64_t>(*seconds, 86'400));
  auto stream = [&](Wakeup& wakeup) -> awaitable<void> {
    const auto subscription = objects_.subscribe([&](const store::Change& change) {
      queue.add(change);
      wakeup.notify();
    });
    auto started = co_await start_lines(exchange);
    while (started && !wakeup.ended() && !queue.overflowed()) {
      const auto text = queue.take();
      if (text.empty()) {
        co_await wakeup.wait();
        continue;
      }
      started = co_await exchange.write(text);
    }
    if (started) co_await exchange.finish();
  };
  co_await while_connected(exchange, clock_, limit, stream);
}

awaitable<void> Resources::create(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  auto read = co_await read_object(exchange);
  auto settled = read ? settle_identity(*read, kind, path) : Result<void>();
  if (!read || !settled) {
    co_await respond_error(exchange, read ? settled.error() : read.error());
    co_return;
  }
  auto& object = *read;
  object.erase("status");
  model::object_at(object, {"metadata"}).erase("resourceVersion");
  auto admitted = model::admit(kind, std::move(object), {.old = nullptr, .user = user_of(exchange)});
  if (!admitted) {
    co_await respond_error(exchange, admitted.error());
    co_return;
  }
  auto& metadata = model::object_at(*admitted, {"metadata"});
  const bool generated = model::text_at(metadata, {"name"}).empty();
  const auto prefix = model::text_at(metadata, {"generateName"});
  if (query(exchange, "dryRun") == "All") {
    if (generated) metadata["name"] = prefix + random_suffix();
    co_await respond_json(exchange, 201, *admitted);
    co_return;
  }
  if (kind.namespaced) {
    auto ensured = is_dns_label(path.name_space)
                       ? co_await ensure_namespace_(path.name_space)
                       : Result<void>(fail(Errc::invalid, fmt::format("\"{}\" is not a namespace's name",
                                                                      printable(path.name_space))));
    if (!ensured) {
      co_await respond_error(exchange, ensured.error());
      co_return;
    }
  }
  for (int attempt = 1;; ++attempt) {
    if (generated) model::object_at(*admitted, {"metadata"})["name"] = prefix + random_suffix();
    path.name = model::text_at(*admitted, {"metadata", "name"});
    auto created = co_await objects_.create(key_of(kind, path), *admitted);
    if (created) {
      co_await respond_json(exchange, 201, **created);
      co_return;
    }
    if (generated && created.error().code() == Errc::already_exists && attempt < write_attempts) continue;
    co_await respond_error(exchange, created.error(), Subject::of(kind, path.name));
    co_return;
  }
}

awaitable<void> Resources::replace(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  auto read = co_await read_object(exchange);
  auto settled = read ? settle_identity(*read, kind, path) : Result<void>();
  if (!read || !settled) {
    co_await respond_error(exchange, read ? settled.error() : read.error());
    co_return;
  }
  const auto old = objects_.find(key_of(kind, path));
  if (!old) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(kind, path.name));
    co_return;
  }
  auto& object = *read;
  const auto named = version_of(object);
  object.erase("status");
  auto admitted = model::admit(kind, std::move(object), {.old = old.get(), .user = user_of(exchange)});
  if (!admitted) {
    co_await respond_error(exchange, admitted.error());
    co_return;
  }
  if (const auto* status = old->if_contains("status")) (*admitted)["status"] = *status;
  if (query(exchange, "dryRun") == "All") {
    co_await respond_json(exchange, 200, *admitted);
    co_return;
  }
  // Without a version the client means "whatever is there"; the check above was against `old` all the same.
  const auto expected = named != 0 ? named : version_of(*old);
  auto updated = co_await objects_.update(key_of(kind, path), std::move(*admitted), expected);
  if (updated)
    co_await respond_json(exchange, 200, **updated);
  else
    co_await respond_error(exchange, updated.error(), Subject::of(kind, path.name));
}

awaitable<void> Resources::patch(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  if (const auto type = media_type(exchange); type != "application/merge-patch+json") {
    co_await respond_failure(exchange, 415, "UnsupportedMediaType",
                             fmt::format("the body of the request was in an unknown format ({}) - accepted media types "
                                         "include: application/merge-patch+json",
                                         printable(type)));
    co_return;
  }
  auto body = co_await read_object(exchange);
  if (!body) {
    co_await respond_error(exchange, body.error());
    co_return;
  }
  body->erase("status");
  const json::value changes(std::move(*body));
  const auto named = version_of(changes.get_object());
  for (int attempt = 1;; ++attempt) {
    const auto old = objects_.find(key_of(kind, path));
    if (!old) {
      co_await respond_error(exchange, Error(Errc::not_found, "not found"), Subject::of(kind, path.name));
      co_return;
    }
    json::value patched(*old);
    merge_patch(patched, changes);
    auto& object = patched.get_object();
    auto settled = settle_identity(object, kind, path);
    if (!settled) {
      co_await respond_error(exchange, settled.error());
      co_return;
    }
    auto admitted = model::admit(kind, std::move(object), {.old = old.get(), .user = user_of(exchange)});
    if (!admitted) {
      co_await respond_error(exchange, admitted.error());
      co_return;
    }
    if (query(exchange, "dryRun") == "All") {
      co_await respond_json(exchange, 200, *admitted);
      co_return;
    }
    auto updated =
        co_await objects_.update(key_of(kind, path), std::move(*admitted), named != 0 ? named : version_of(*old));
    if (updated) {
      co_await respond_json(exchange, 200, **updated);
      co_return;
    }
    if (named == 0 && updated.error().code() == Errc::conflict && attempt < write_attempts) continue;
    co_await respond_error(exchange, updated.error(), Subject::of(kind, path.name));
    co_return;
  }
}

awaitable<void> Resources::remove(http::Exchange& exchange, const model::Kind& kind, ResourcePath path) {
  std::optional<std::uint64_t> expected;
  std::string uid;
  auto body = co_await exchange.read_all(body_bytes_max);
  if (!body) {
    co_await respond_error(exchange, body.error());
    co_return;
  }
  if (!trim(*body).empty()) {
    boost::system::error_code error;
    const auto options = json::parse(*body, error);
    if (error || !options.is_object()) {
      co_await respond_error(exchange, Error(Errc::invalid, "the body is not a DeleteOptions object"));
      co_return;
    }
    expected = parse_unsigned(model::text_at(options.get_object(), {"preconditions", "resourceVersion"}));
    uid = model::text_at(options.get_object(), {"preconditions", "uid"});
  }
  const auto object = objects_.find(key_of(kind, path));
  const auto subject = Subject::of(kind, path.name);
  if (!object) {
    co_await respond_error(exchange, Error(Errc::not_found, "not found"), subject);
    co_return;
  }
  if (&kind == &model::namespace_kind() && path.name == "default") {
    co_await respond_failure(exchange, 403, "Forbidden",
                             "namespaces \"default\" is forbidden: this namespace may not be deleted");
    co_return;
  }
  const auto own_uid = model::text_at(*object, {"metadata", "uid"});
  if (!uid.empty() && uid != own_uid) {
    co_await respond_error(exchange, Error(Errc::conflict, "another uid"), subject);
    co_return;
  }
  auto removed =
      query(exchange, "dryRun") == "All" ? Result<void>() : co_await objects_.remove(key_of(kind, path), expected);
  if (!removed) {
    co_await respond_error(exchange, removed.error(), subject);
    co_return;
  }
  co_await respond_json(
      exchange, 200,
      json::object{{"kind", "Status"},
                   {"apiVersion", "v1"},
                   {"metadata", json::object()},
                   {"status", "Success"},
                   {"details", {{"name", path.name}, {"group", kind.group}, {"kind", kind.plural}, {"uid", own_uid}}}});
}

}  // namespace wick::api
