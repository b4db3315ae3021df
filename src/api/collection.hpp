// What reads of one resource stand on: the object table, or a view that is computed from something else (Pods from
// instances) and compared with itself from time to time.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "wick/model/resource.hpp"
#include "wick/store/objects.hpp"

namespace wick::api {

using store::Change;
using store::ObjectKey;
using store::ObjectValue;

class Collection {
 public:
  virtual ~Collection() = default;

  virtual const model::Kind& kind() const = 0;
  virtual ObjectValue find(const std::string& name_space, const std::string& name) = 0;
  /// By namespace and name; an empty namespace means all.
  virtual std::vector<ObjectValue> list(std::string_view name_space) = 0;
  virtual std::uint64_t version() = 0;
  /// Changes of this resource (and perhaps others) after `version`; nullopt when they are no longer kept.
  virtual std::optional<std::vector<Change>> changes_since(std::uint64_t version) = 0;
  /// Called after each change, until the token goes.
  virtual std::shared_ptr<void> subscribe(std::function<void(const Change&)> subscriber) = 0;
  /// A view is looked at this often while it is watched; zero where changes announce themselves.
  virtual Duration poll_period() const { return Duration::zero(); }
  virtual void poll() {}
};

/// A kind whose objects are in the object table.
class StoredCollection final : public Collection {
 public:
  StoredCollection(store::Objects& objects, const model::Kind& kind) : objects_(objects), kind_(kind) {}

  const model::Kind& kind() const override { return kind_; }
  ObjectValue find(const std::string& name_space, const std::string& name) override {
    return objects_.find({kind_.resource(), name_space, name});
  }
  std::vector<ObjectValue> list(std::string_view name_space) override {
    return objects_.list(kind_.resource(), name_space);
  }
  std::uint64_t version() override { return objects_.version(); }
  std::optional<std::vector<Change>> changes_since(std::uint64_t version) override {
    return objects_.changes_since(version);
  }
  std::shared_ptr<void> subscribe(std::function<void(const Change&)> subscriber) override {
    return std::make_shared<store::Objects::Subscription>(objects_.subscribe(std::move(subscriber)));
  }

 private:
  store::Objects& objects_;
  const model::Kind& kind_;
};

/// A kind whose objects are computed. Their resourceVersions begin at the time the view was made (in µs), so that one
/// of an earlier life is never taken for a later one.
class ViewCollection final : public Collection {
 public:
  static constexpr std::size_t changes_kept = 1'000;

  /// All objects there are, with metadata.namespace and name; they get their resourceVersion here.
  using Look = std::function<std::vector<boost::json::object>()>;
  ViewCollection(const model::Kind& kind, Clock& clock, Look look);

  const model::Kind& kind() const override { return kind_; }
  ObjectValue find(const std::string& name_space, const std::string& name) override;
  std::vector<ObjectValue> list(std::string_view name_space) override;
  std::uint64_t version() override;
  std::optional<std::vector<Change>> changes_since(std::uint64_t version) override;
  std::shared_ptr<void> subscribe(std::function<void(const Change&)> subscriber) override;
  Duration poll_period() const override { return milliseconds(200); }
  void poll() override;

 private:
  using Subscriber = std::function<void(const Change&)>;
  void announce(Change::Type type, const ObjectKey& key, ObjectValue object);

  const model::Kind& kind_;
  Look look_;
  std::map<ObjectKey, ObjectValue> objects_;
  std::uint64_t version_;
  std::uint64_t floor_;
  std::deque<Change> changes_;
  std::vector<std::weak_ptr<Subscriber>> subscribers_;
};

}  // namespace wick::api
