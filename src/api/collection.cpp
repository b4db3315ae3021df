#include "api/collection.hpp"

#include "wick/model/object_reader.hpp"

namespace wick::api {

namespace json = boost::json;

ViewCollection::ViewCollection(const model::Kind& kind, Clock& clock, Look look)
    : kind_(kind),
      look_(std::move(look)),
      version_(static_cast<std::uint64_t>(
          std::chrono::duration_cast<std::chrono::microseconds>(clock.wall().time_since_epoch()).count())),
      floor_(version_) {}

void ViewCollection::poll() {
  std::map<ObjectKey, json::object> now;
  for (auto& object : look_()) {
    ObjectKey key{kind_.resource(), model::text_at(object, {"metadata", "namespace"}),
                  model::text_at(object, {"metadata", "name"})};
    now.insert_or_assign(std::move(key), std::move(object));
  }
  for (auto at = objects_.begin(); at != objects_.end();) {
    if (now.contains(at->first)) {
      ++at;
      continue;
    }
    auto [key, gone] = *at;
    at = objects_.erase(at);
    auto last = *gone;
    model::object_at(last, {"metadata"})["resourceVersion"] = std::to_string(++version_);
    announce(Change::Type::deleted, key, std::make_shared<const json::object>(std::move(last)));
  }
  for (auto& [key, object] : now) {
    const auto known = objects_.find(key);
    auto& version = model::object_at(object, {"metadata"})["resourceVersion"];
    if (known != objects_.end()) {
      version = *model::find_value(*known->second, {"metadata", "resourceVersion"});
      if (object == *known->second) continue;
    }
    model::object_at(object, {"metadata"})["resourceVersion"] = std::to_string(++version_);
    const auto type = known == objects_.end() ? Change::Type::added : Change::Type::modified;
    auto value = std::make_shared<const json::object>(std::move(object));
    objects_[key] = value;
    announce(type, key, std::move(value));
  }
}

void ViewCollection::announce(Change::Type type, const ObjectKey& key, ObjectValue object) {
  const Change change{type, key, version_, std::move(object)};
  changes_.push_back(change);
  if (changes_.size() > changes_kept) {
    floor_ = changes_.front().version;
    changes_.pop_front();
  }
  std::erase_if(subscribers_, [](const auto& weak) { return weak.expired(); });
  const auto current = subscribers_;
  for (const auto& weak : current)
    if (const auto subscriber = weak.lock()) (*subscriber)(change);
}

ObjectValue ViewCollection::find(const std::string& name_space, const std::string& name) {
  poll();
  const auto found = objects_.find({kind_.resource(), name_space, name});
  return found == objects_.end() ? nullptr : found->second;
}

std::vector<ObjectValue> ViewCollection::list(std::string_view name_space) {
  poll();
  std::vector<ObjectValue> found;
  for (const auto& [key, object] : objects_)
    if (name_space.empty() || key.name_space == name_space) found.push_back(object);
  return found;
}

std::uint64_t ViewCollection::version() { return version_; }

std::optional<std::vector<Change>> ViewCollection::changes_since(std::uint64_t version) {
  poll();
  if (version < floor_ || version > version_) return std::nullopt;
  std::vector<Change> after;
  for (const auto& change : changes_)
    if (change.version > version) after.push_back(change);
  return after;
}

std::shared_ptr<void> ViewCollection::subscribe(std::function<void(const Change&)> subscriber) {
  auto token = std::make_shared<Subscriber>(std::move(subscriber));
  subscribers_.push_back(token);
  return token;
}

}  // namespace wick::api
