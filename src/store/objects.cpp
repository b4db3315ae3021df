// The object table. Truth is the SQL table, read and written inside the writer's transaction, so a conflict is found
// against what was committed before and not against what this loop has seen. The map in memory is the image of the last
// commit this loop was told of.
//
// Invariants
//  1. A version is given out once, also across restarts: the counter is written in the transaction that uses it.
//  2. The map with its indexes, version() and the subscribers move together, in one stretch without suspension, in
//  order
//     of version.
#include "wick/store/objects.hpp"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <deque>
#include <set>

#include "packed.hpp"
#include "wick/base/text.hpp"

namespace wick::store {

namespace json = boost::json;

namespace {

// Deeper than any manifest; outside JSON is bounded where it is parsed.
constexpr std::size_t depth_max = 512;

constexpr std::string_view schema = R"sql(
CREATE TABLE object(
  resource TEXT NOT NULL,
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY(resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE object_version(last INTEGER NOT NULL);
INSERT INTO object_version VALUES(0);
)sql";

std::string text_of(const ObjectKey& key) {
  return key.name_space.empty() ? fmt::format("{} {}", key.resource, key.name)
                                : fmt::format("{} {}/{}", key.resource, key.name_space, key.name);
}

json::object parse_object(std::string_view body) {
  json::parse_options options;
  options.max_depth = depth_max;
  return json::parse(body, {}, options).as_object();
}

json::object& metadata_of(json::object& object) {
  json::value& metadata = object["metadata"];
  if (!metadata.is_object()) metadata.emplace_object();
  return metadata.get_object();
}

json::value member(const json::object& object, std::string_view name) {
  const json::value* found = object.if_contains(name);
  return found ? *found : json::value();
}

std::uint64_t version_of(const json::object& object) {
  const json::value* metadata = object.if_contains("metadata");
  const json::value* version =
      metadata && metadata->is_object() ? metadata->get_object().if_contains("resourceVersion") : nullptr;
  return version && version->is_string() ? parse_unsigned(version->get_string()).value_or(0) : 0;
}

/// Random (version 4) UUID, RFC 9562 5.4.
std::string make_uid() {
  std::string hex = random_hex(16);
  hex[12] = '4';
  hex[16] = "89ab"[hex[16] % 4];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4), hex.substr(16, 4),
                     hex.substr(20));
}

/// `next` as it will be stored but for its resourceVersion: the table's own fields come from `previous`, whatever the
/// caller sent.
void carry_over(json::object& next, const json::object& previous) {
  json::object& metadata = metadata_of(next);
  const json::object before = member(previous, "metadata").as_object();
  for (const char* name : {"uid", "creationTimestamp", "resourceVersion", "generation"})
    metadata[name] = member(before, name);
  for (const char* name : {"deletionTimestamp", "deletionGracePeriodSeconds"})
    if (const json::value* value = before.if_contains(name))
      metadata[name] = *value;
    else
      metadata.erase(name);
  if (member(next, "spec") != member(previous, "spec"))
    metadata["generation"] = member(before, "generation").to_number<std::int64_t>() + 1;
}

/// What a write came to on the writer thread.
struct Outcome {
  std::optional<Error> refused;
  std::optional<Change> change;  // absent when nothing had to be written
  ObjectValue object;
};

/// What is encrypted on disk.
bool is_secret(const ObjectKey& key) { return key.resource == "secrets"; }

json::object decode(const Vault* vault, const ObjectKey& key, const std::string& body) {
  if (!Vault::is_sealed(body)) return parse_object(body);
  if (!vault) throw DatabaseError(SQLITE_AUTH, "an encrypted object and no key");
  auto plain = vault->open(body, text_of(key));
  if (!plain) throw DatabaseError(SQLITE_CORRUPT, plain.error().message());
  return parse_object(*plain);
}

/// The table as the writer's transaction sees it.
class Table {
 public:
  Table(sqlite3* connection, const Vault* vault) : connection_(connection), vault_(vault) {}

  std::optional<json::object> read(const ObjectKey& key) {
    Statement query(connection_, "SELECT body FROM object WHERE resource=? AND namespace=? AND name=?");
    query.bind(key.resource).bind(key.name_space).bind(key.name);
    if (!query.step()) return std::nullopt;
    return decode(vault_, key, query.text(0));
  }

  std::uint64_t next_version() {
    Statement query(connection_, "UPDATE object_version SET last = last + 1 RETURNING last");
    query.step();
    const auto version = static_cast<std::uint64_t>(query.integer(0));
    while (query.step()) {
    }
    return version;
  }

  void write(const ObjectKey& key, std::uint64_t version, const std::string& body) {
    Statement replace(connection_,
                      "INSERT OR REPLACE INTO object(resource, namespace, name, version, body) VALUES(?,?,?,?,?)");
    replace.bind(key.resource)
        .bind(key.name_space)
        .bind(key.name)
        .bind(static_cast<std::int64_t>(version))
        .bind(is_secret(key) && vault_ ? vault_->seal(body, text_of(key)) : body)
        .run();
  }

  void remove(const ObjectKey& key) {
    Statement statement(connection_, "DELETE FROM object WHERE resource=? AND namespace=? AND name=?");
    statement.bind(key.resource).bind(key.name_space).bind(key.name).run();
  }

  /// Why `key` cannot be written, if it cannot.
  std::optional<Error> refusal(const ObjectKey& key) const {
    if (!is_secret(key) || vault_) return std::nullopt;
    return Error(Errc::unsupported, "there is no key to encrypt Secrets with")
        .hint("start wick as root, or name a key with --secret-key FILE");
  }

 private:
  sqlite3* connection_;
  const Vault* vault_;
};

std::optional<Error> conflict_with(const json::object& current, std::optional<std::uint64_t> expected) {
  const std::uint64_t version = version_of(current);
  if (!expected || *expected == version) return std::nullopt;
  return Error(Errc::conflict,
               fmt::format("the object is at resourceVersion {}, the change was made to {}", version, *expected))
      .hint("read it again and repeat the change");
}

/// Gives `object` its version, stores it and notes the change.
void store(Table& table, const ObjectKey& key, Change::Type type, json::object object, Outcome& outcome) {
  outcome.refused = table.refusal(key);
  if (outcome.refused) return;
  const std::uint64_t version = table.next_version();
  metadata_of(object)["resourceVersion"] = std::to_string(version);
  const std::string body = json::serialize(object);
  if (body.size() > Objects::object_bytes_max) {
    outcome.refused = Error(Errc::too_large, fmt::format("the object has {} bytes of JSON, at most {} are kept",
                                                         body.size(), Objects::object_bytes_max));
    return;
  }
  table.write(key, version, body);
  outcome.object = packed(object);
  outcome.change = Change{type, key, version, outcome.object, body.size()};
}

void store_if_changed(Table& table, const ObjectKey& key, json::object next, const json::object& previous,
                      Outcome& outcome) {
  // The second look forgives Boost.JSON 1.81, whose parser may miss a double by its last bit: what was stored compares
  // as parsed.
  if (next == previous || parse_object(json::serialize(next)) == previous)
    outcome.object = std::make_shared<const json::object>(previous);  // for the answer only
  else
    store(table, key, Change::Type::modified, std::move(next), outcome);
}

json::array finalizers_of(const json::object& object) {
  const json::value metadata = member(object, "metadata");
  const json::value list = metadata.is_object() ? member(metadata.get_object(), "finalizers") : json::value();
  return list.is_array() ? list.get_array() : json::array();
}

bool is_being_deleted(const json::object& object) {
  const json::value metadata = member(object, "metadata");
  return metadata.is_object() && metadata.get_object().contains("deletionTimestamp");
}

/// Takes the row away; `last` is the state its watchers are told.
void drop(Table& table, const ObjectKey& key, json::object last, Outcome& outcome) {
  table.remove(key);
  const std::uint64_t version = table.next_version();
  metadata_of(last)["resourceVersion"] = std::to_string(version);
  const auto bytes = json::serialize(last).size();
  outcome.object = packed(last);
  outcome.change = Change{Change::Type::deleted, key, version, outcome.object, bytes};
}

/// Value to the keys that have it; the keys are those of the map in memory.
class IndexedKeys {
 public:
  IndexedKeys(std::vector<std::string> resources, Objects::IndexValues values)
      : resources_(std::move(resources)), values_(std::move(values)) {}

  bool is_of(const ObjectKey& key) const { return std::ranges::find(resources_, key.resource) != resources_.end(); }

  void add(const ObjectKey& key, const json::object& object) {
    for (auto& value : values_(object)) keys_[std::move(value)].insert(&key);
  }

  void remove(const ObjectKey& key, const json::object& object) {
    for (const auto& value : values_(object)) {
      const auto found = keys_.find(value);
      if (found == keys_.end()) continue;
      found->second.erase(&key);
      if (found->second.empty()) keys_.erase(found);
    }
  }

  template <class Visit>
  void for_each(std::string_view value, Visit visit) const {
    const auto found = keys_.find(value);
    if (found == keys_.end()) return;
    for (const ObjectKey* key : found->second) visit(*key);
  }

 private:
  struct ByKey {
    bool operator()(const ObjectKey* a, const ObjectKey* b) const { return *a < *b; }
  };
  std::vector<std::string> resources_;
  Objects::IndexValues values_;
  std::map<std::string, std::set<const ObjectKey*, ByKey>, std::less<>> keys_;
};

}  // namespace

struct Objects::Impl {
  Database& database;
  Clock& clock;
  std::shared_ptr<const Vault> vault;
  std::map<ObjectKey, ObjectValue> objects;
  std::vector<IndexedKeys> indexes;
  std::deque<Change> changes;
  std::size_t changes_bytes = 0;
  std::uint64_t floor = 0;  // changes after this version are kept
  std::map<std::uint64_t, std::shared_ptr<Subscriber>> subscribers;
  std::uint64_t last_subscriber = 0;

  void keep(const Change& change) {
    changes.push_back(change);
    changes_bytes += change.bytes;
    while (changes.size() > changes_kept || (changes_bytes > changes_bytes_max && changes.size() > 1)) {
      floor = changes.front().version;
      changes_bytes -= changes.front().bytes;
      changes.pop_front();
    }
  }

  /// Brings the map and its indexes to what was committed.
  void put_in_force(const Change& change) {
    const auto before = objects.find(change.key);
    const auto for_indexes = [&](auto&& act) {
      for (auto& index : indexes)
        if (index.is_of(change.key)) act(index);
    };
    if (before != objects.end()) for_indexes([&](IndexedKeys& index) { index.remove(before->first, *before->second); });
    if (change.type == Change::Type::deleted) {
      if (before != objects.end()) objects.erase(before);
      return;
    }
    const auto now = objects.insert_or_assign(change.key, change.object).first;
    for_indexes([&](IndexedKeys& index) { index.add(now->first, *now->second); });
  }

  /// Runs `decide` in the writer's transaction.
  awaitable<Result<Outcome>> commit(ObjectKey key, std::function<void(Table&, Outcome&)> decide) {
    auto outcome = std::make_shared<Outcome>();
    auto work = [outcome, decide = std::move(decide), vault = vault](sqlite3* connection) {
      Table table(connection, vault.get());
      decide(table, *outcome);
    };
    auto written = co_await database.write(std::move(work));
    if (!written) co_return fail(std::move(written.error()).within(text_of(key)));
    if (outcome->refused) co_return fail(std::move(*outcome->refused).within(text_of(key)));
    co_return std::move(*outcome);
  }
};

Objects::Objects(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Objects::~Objects() = default;

std::vector<std::string_view> Objects::migrations() { return {schema}; }

Result<std::unique_ptr<Objects>> Objects::open(Database& database, Clock& clock, std::shared_ptr<const Vault> vault) {
  auto impl = std::make_unique<Impl>(database, clock, std::move(vault));
  try {
    Statement counter(database.reader(), "SELECT last FROM object_version");
    counter.step();
    impl->floor = static_cast<std::uint64_t>(counter.integer(0));
    counter.reset();
    Statement rows(database.reader(), "SELECT resource, namespace, name, body FROM object");
    while (rows.step()) {
      const ObjectKey key{rows.text(0), rows.text(1), rows.text(2)};
      impl->objects[key] = packed(decode(impl->vault.get(), key, rows.text(3)));
    }
  } catch (const DatabaseError& error) {
    return fail(to_error(error).within("object table"));
  } catch (const boost::system::system_error& error) {
    return fail(Errc::corrupt, fmt::format("object table: a row is not a JSON object: {}", error.what()),
                "restore the last backup");
  }
  const std::uint64_t version = impl->floor;
  std::unique_ptr<Objects> objects(new Objects(std::move(impl)));
  objects->version_ = version;
  return objects;
}

awaitable<Result<std::size_t>> Objects::reseal() {
  auto count = std::make_shared<std::size_t>(0);
  if (!impl_->vault || impl_->vault->keys() == 1) co_return *count;
  auto work = [count, vault = impl_->vault](sqlite3* connection) {
    std::vector<std::pair<ObjectKey, std::string>> older;
    {
      Statement rows(connection, "SELECT resource, namespace, name, body FROM object WHERE resource = 'secrets'");
      while (rows.step()) {
        ObjectKey key{rows.text(0), rows.text(1), rows.text(2)};
        if (auto body = rows.text(3); !vault->is_newest(body, text_of(key))) older.emplace_back(std::move(key), body);
      }
    }
    Statement update(connection, "UPDATE object SET body=? WHERE resource=? AND namespace=? AND name=?");
    for (const auto& [key, body] : older) {
      auto plain = vault->open(body, text_of(key));
      if (!plain) throw DatabaseError(SQLITE_CORRUPT, plain.error().message());
      update.reset();
      update.bind(vault->seal(*plain, text_of(key))).bind(key.resource).bind(key.name_space).bind(key.name).run();
    }
    *count = older.size();
  };
  auto written = co_await impl_->database.write(std::move(work));
  if (!written) co_return fail(std::move(written.error()).within("seal Secrets anew"));
  co_return *count;
}

ObjectValue Objects::find(const ObjectKey& key) const {
  const auto found = impl_->objects.find(key);
  return found == impl_->objects.end() ? nullptr : found->second;
}

std::vector<ObjectValue> Objects::list(std::string_view resource, std::string_view name_space) const {
  std::vector<ObjectValue> found;
  const ObjectKey first{std::string(resource), std::string(name_space), {}};
  for (auto at = impl_->objects.lower_bound(first); at != impl_->objects.end() && at->first.resource == resource;
       ++at) {
    if (!name_space.empty() && at->first.name_space != name_space) break;
    found.push_back(at->second);
  }
  return found;
}

Objects::Index Objects::add_index(std::vector<std::string> resources, IndexValues values) {
  IndexedKeys index(std::move(resources), std::move(values));
  for (const auto& [key, object] : impl_->objects)
    if (index.is_of(key)) index.add(key, *object);
  impl_->indexes.push_back(std::move(index));
  return Index(impl_->indexes.size() - 1);
}

std::vector<ObjectValue> Objects::find_by(Index index, std::string_view value) const {
  std::vector<ObjectValue> found;
  impl_->indexes[index.place_].for_each(value, [&](const ObjectKey& key) { found.push_back(impl_->objects.at(key)); });
  return found;
}

std::vector<ObjectKey> Objects::keys_by(Index index, std::string_view value) const {
  std::vector<ObjectKey> found;
  impl_->indexes[index.place_].for_each(value, [&](const ObjectKey& key) { found.push_back(key); });
  return found;
}

awaitable<Result<ObjectValue>> Objects::create(ObjectKey key, json::object object) {
  std::string created = to_rfc3339(impl_->clock.wall());
  auto decide = [key, object = std::move(object), created = std::move(created)](Table& table, Outcome& outcome) {
    if (table.read(key)) {
      outcome.refused = Error(Errc::already_exists, "already exists");
      return;
    }
    json::object fresh = object;
    json::object& metadata = metadata_of(fresh);
    metadata["uid"] = make_uid();
    metadata["creationTimestamp"] = created;
    metadata["generation"] = 1;
    store(table, key, Change::Type::added, std::move(fresh), outcome);
  };
  auto outcome = co_await impl_->commit(std::move(key), std::move(decide));
  if (!outcome) co_return fail(std::move(outcome.error()));
  publish(std::move(*outcome->change));
  co_return outcome->object;
}

awaitable<Result<ObjectValue>> Objects::update(ObjectKey key, json::object object,
                                               std::optional<std::uint64_t> expected_version) {
  auto decide = [key, object = std::move(object), expected_version](Table& table, Outcome& outcome) {
    const auto previous = table.read(key);
    if (!previous) {
      outcome.refused = Error(Errc::not_found, "not found");
      return;
    }
    outcome.refused = conflict_with(*previous, expected_version);
    if (outcome.refused) return;
    json::object next = object;
    carry_over(next, *previous);
    if (is_being_deleted(next) && finalizers_of(next).empty())
      drop(table, key, std::move(next), outcome);
    else
      store_if_changed(table, key, std::move(next), *previous, outcome);
  };
  auto outcome = co_await impl_->commit(std::move(key), std::move(decide));
  if (!outcome) co_return fail(std::move(outcome.error()));
  if (outcome->change) publish(std::move(*outcome->change));
  co_return outcome->object;
}

awaitable<Result<ObjectValue>> Objects::update_status(ObjectKey key, json::value status) {
  // Reconcilers repeat themselves: what the map already says, with no write on its way that could change it, costs
  // nothing.
  if (const ObjectValue current = find(key);
      current && impl_->database.waiting() == 0 && member(*current, "status") == status)
    co_return current;
  auto decide = [key, status = std::move(status)](Table& table, Outcome& outcome) {
    const auto previous = table.read(key);
    if (!previous) {
      outcome.refused = Error(Errc::not_found, "not found");
      return;
    }
    json::object next = *previous;
    next["status"] = status;
    store_if_changed(table, key, std::move(next), *previous, outcome);
  };
  auto outcome = co_await impl_->commit(std::move(key), std::move(decide));
  if (!outcome) co_return fail(std::move(outcome.error()));
  if (outcome->change) publish(std::move(*outcome->change));
  co_return outcome->object;
}

awaitable<Result<void>> Objects::remove(ObjectKey key, std::optional<std::uint64_t> expected_version) {
  auto decide = [key, expected_version](Table& table, Outcome& outcome) {
    auto previous = table.read(key);
    if (!previous) {
      outcome.refused = Error(Errc::not_found, "not found");
      return;
    }
    outcome.refused = conflict_with(*previous, expected_version);
    if (outcome.refused) return;
    drop(table, key, std::move(*previous), outcome);
  };
  auto outcome = co_await impl_->commit(std::move(key), std::move(decide));
  if (!outcome) co_return fail(std::move(outcome.error()));
  publish(std::move(*outcome->change));
  co_return Result<void>();
}

awaitable<Result<ObjectValue>> Objects::request_removal(ObjectKey key, std::optional<std::uint64_t> expected_version,
                                                        std::vector<std::string> finalizers) {
  std::string now = to_rfc3339(impl_->clock.wall());
  auto decide = [key, expected_version, finalizers = std::move(finalizers), now](Table& table, Outcome& outcome) {
    auto previous = table.read(key);
    if (!previous) {
      outcome.refused = Error(Errc::not_found, "not found");
      return;
    }
    outcome.refused = conflict_with(*previous, expected_version);
    if (outcome.refused) return;
    json::array list = finalizers_of(*previous);
    for (const std::string& finalizer : finalizers)
      if (std::find(list.begin(), list.end(), json::value(finalizer)) == list.end()) list.emplace_back(finalizer);
    if (list.empty()) {
      drop(table, key, std::move(*previous), outcome);
      return;
    }
    json::object next = *previous;
    json::object& metadata = metadata_of(next);
    metadata["finalizers"] = std::move(list);
    if (!is_being_deleted(*previous)) {
      metadata["deletionTimestamp"] = now;
      metadata["deletionGracePeriodSeconds"] = 0;
      metadata["generation"] = metadata["generation"].to_number<std::int64_t>() + 1;
    }
    store_if_changed(table, key, std::move(next), *previous, outcome);
  };
  auto outcome = co_await impl_->commit(std::move(key), std::move(decide));
  if (!outcome) co_return fail(std::move(outcome.error()));
  const bool gone = outcome->change && outcome->change->type == Change::Type::deleted;
  if (outcome->change) publish(std::move(*outcome->change));
  co_return gone ? nullptr : outcome->object;
}

void Objects::publish(Change change) {
  impl_->put_in_force(change);
  version_ = change.version;
  impl_->keep(change);
  // A subscriber may subscribe or give its subscription up.
  std::vector<std::weak_ptr<Subscriber>> current;
  for (const auto& [number, subscriber] : impl_->subscribers) current.push_back(subscriber);
  for (const auto& weak : current)
    if (const auto subscriber = weak.lock()) (*subscriber)(change);
}

std::optional<std::vector<Change>> Objects::changes_since(std::uint64_t version) const {
  if (version < impl_->floor || version > version_) return std::nullopt;
  const auto after = [](std::uint64_t wanted, const Change& change) { return wanted < change.version; };
  const auto first = std::upper_bound(impl_->changes.begin(), impl_->changes.end(), version, after);
  return std::vector<Change>(first, impl_->changes.end());
}

Objects::Subscription Objects::subscribe(Subscriber subscriber) {
  Subscription token;
  token.objects_ = this;
  token.number_ = ++impl_->last_subscriber;
  impl_->subscribers[token.number_] = std::make_shared<Subscriber>(std::move(subscriber));
  return token;
}

Objects::Subscription::Subscription(Subscription&& other) noexcept
    : objects_(std::exchange(other.objects_, nullptr)), number_(other.number_) {}

Objects::Subscription& Objects::Subscription::operator=(Subscription&& other) noexcept {
  std::swap(objects_, other.objects_);
  std::swap(number_, other.number_);
  return *this;
}

Objects::Subscription::~Subscription() {
  if (objects_) objects_->impl_->subscribers.erase(number_);
}

}  // namespace wick::store
