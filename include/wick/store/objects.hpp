// The object table: every resource as JSON with Kubernetes' metadata, one resourceVersion counter, and a feed of
// changes.
#pragma once

#include <boost/json/object.hpp>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/base/error.hpp"
#include "wick/os/clock.hpp"
#include "wick/store/database.hpp"
#include "wick/store/vault.hpp"

namespace wick::store {

struct ObjectKey {
  std::string resource;    // "services.serving.knative.dev": plural and group
  std::string name_space;  // empty for cluster-scoped
  std::string name;
  auto operator<=>(const ObjectKey&) const = default;
};

using ObjectValue = std::shared_ptr<const boost::json::object>;

struct Change {
  enum class Type { added, modified, deleted } type = Type::added;
  ObjectKey key;
  std::uint64_t version = 0;  // resourceVersion of this change
  ObjectValue object;         // for deleted: the last state
  std::size_t bytes = 0;      // of its JSON
};

/// Reads come from memory (loaded at open); writes go through the database's writer thread and are visible, and
/// announced, only after their commit. All calls on the loop. The table owns metadata.{uid, creationTimestamp,
/// resourceVersion, generation, deletionTimestamp}: generation starts at 1 and rises when `spec` changes.
class Objects {
 public:
  // For watches that come back. In memory a change takes about three times its JSON; the last one is always kept.
  static constexpr std::size_t changes_kept = 2'000;
  static constexpr std::size_t changes_bytes_max = 1 << 20;
  static constexpr std::size_t object_bytes_max =
      1536 << 10;  // etcd's request limit, so what fits here fits a cluster: too_large

  static std::vector<std::string_view> migrations();
  /// Loads every object. `database` was opened with `migrations()`; it and `clock` must outlive the table. Secrets are
  /// encrypted with `vault`, which may be null: then none can be written (unsupported). Errors: corrupt for a Secret of
  /// another key.
  static Result<std::unique_ptr<Objects>> open(Database& database, Clock& clock,
                                               std::shared_ptr<const Vault> vault = nullptr);

  /// Seals every Secret with the vault's newest key that an older one sealed; how many there were. All or none.
  awaitable<Result<std::size_t>> reseal();

  ObjectValue find(const ObjectKey& key) const;  // nullptr when absent
  std::vector<ObjectValue> list(std::string_view resource,
                                std::string_view name_space = {}) const;  // empty namespace: all
  std::uint64_t version() const { return version_; }

  /// What an object of an index is found by: any number of values. Pure.
  using IndexValues = std::function<std::vector<std::string>(const boost::json::object&)>;
  class Index {
    friend class Objects;
    std::size_t place_;
    explicit Index(std::size_t place) : place_(place) {}
  };
  /// Keeps an index over the objects of these resources from now on (client-go's Indexer): finding by it costs what is
  /// found, whatever the size of the table.
  Index add_index(std::vector<std::string> resources, IndexValues values);
  /// In order of their keys.
  std::vector<ObjectValue> find_by(Index index, std::string_view value) const;
  std::vector<ObjectKey> keys_by(Index index, std::string_view value) const;

  /// already_exists when taken.
  awaitable<Result<ObjectValue>> create(ObjectKey key, boost::json::object object);
  /// Replaces. `expected_version` set and different is Errc::conflict; missing object is not_found. Equal content
  /// writes nothing. Of an object that is being deleted it may be the last: see request_removal.
  awaitable<Result<ObjectValue>> update(ObjectKey key, boost::json::object object,
                                        std::optional<std::uint64_t> expected_version = {});
  /// Replaces only `status` (and leaves generation alone).
  awaitable<Result<ObjectValue>> update_status(ObjectKey key, boost::json::value status);
  /// Removes at once, whatever metadata.finalizers says.
  awaitable<Result<void>> remove(ObjectKey key, std::optional<std::uint64_t> expected_version = {});
  /// Deletion as a client asks for it: removed at once when nothing is in metadata.finalizers (`finalizers` added),
  /// else given a deletionTimestamp, and removed by the update that takes the last finalizer away. What is left of the
  /// object; nullptr when it is gone.
  awaitable<Result<ObjectValue>> request_removal(ObjectKey key, std::optional<std::uint64_t> expected_version = {},
                                                 std::vector<std::string> finalizers = {});

  /// Called on the loop after each commit, in order of version. The subscription ends when the token goes, which must
  /// be before the table does.
  using Subscriber = std::function<void(const Change&)>;
  class Subscription {
   public:
    Subscription() = default;
    Subscription(Subscription&&) noexcept;
    Subscription& operator=(Subscription&&) noexcept;
    ~Subscription();

   private:
    friend class Objects;
    Objects* objects_ = nullptr;
    std::uint64_t number_ = 0;
  };
  Subscription subscribe(Subscriber subscriber);
  /// Changes after `version`, oldest first; nullopt when they are no longer kept, or `version` is from another life
  /// (410 Gone).
  std::optional<std::vector<Change>> changes_since(std::uint64_t version) const;

 private:
  struct Impl;
  explicit Objects(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  std::uint64_t version_ = 0;

  void publish(Change change);

 public:
  ~Objects();
};

}  // namespace wick::store
