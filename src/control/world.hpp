// What every reconciler needs, in one place, and the few questions they all ask of the object table.
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <set>
#include <string>

#include "control/indexes.hpp"
#include "wick/control/control.hpp"
#include "wick/model/condition.hpp"
#include "wick/model/object_reader.hpp"
#include "wick/model/resource.hpp"

namespace wick::control {

namespace json = boost::json;
using store::ObjectKey;
using store::ObjectValue;

struct World {
  Collaborators with;
  ControlOptions options;
  BuildLogs build_logs;
  /// Asks for a key to be reconciled soon.
  std::function<void(ObjectKey)> enqueue;
  /// The same, once `delay` has passed.
  std::function<void(ObjectKey, Duration)> enqueue_after;
  Indexes indexes;
  /// Id ranges chosen and not yet written to the table, and the one that was chosen last.
  std::set<std::uint32_t> id_ranges_promised;
  std::uint32_t last_id_range = 0;

  store::Objects& objects() const { return with.objects; }
  WallTime now() const { return with.clock.wall(); }
};

ObjectKey key_of(const model::Kind& kind, std::string name_space, std::string name);
/// The key of an object of this kind by its own metadata.
ObjectKey key_of(const model::Kind& kind, const json::object& object);
std::string name_of(const json::object& object);
std::string namespace_of(const json::object& object);
std::string uid_of(const json::object& object);
std::uint64_t version_of(const json::object& object);
std::int64_t generation_of(const json::object& object);
model::TextMap labels_of(const json::object& object);
model::TextMap annotations_of(const json::object& object);
json::object to_json(const model::TextMap& map);

/// Ready, for this generation of the spec: what a parent may rely on.
bool is_current(const json::object& object);

/// True while the controlling owner of `object` exists. False: it has none, or it is on its way out with it.
bool is_owned(World& world, const json::object& object);

/// Creates `object`, or brings labels, annotations and spec of the existing one to what it says. Annotations in `kept`
/// stay what they are. Errors: conflict when it belongs to another controller (message says whose), and what the table
/// says.
awaitable<Result<ObjectValue>> ensure_child(World& world, const model::Kind& kind, ObjectKey key, json::object object,
                                            std::initializer_list<std::string_view> kept = {});

/// In lower-case hex.
std::string md5_hex(std::string_view text);

/// A LabelSelector: matchLabels, and matchExpressions with In, NotIn, Exists and DoesNotExist. An unknown operator
/// selects nothing.
bool selects(const json::object& selector, const model::TextMap& labels);

/// The name of what belongs to `parent`: with `suffix` after it; past 63 characters the parent's name is cut and
/// followed by its MD5 (Knative's kmeta.ChildName).
std::string child_name(const std::string& parent, std::string_view suffix);

/// CamelCase reason of a slug: "E_WRONG_PORT" is "WrongPort".
std::string reason_of(std::string_view slug);

}  // namespace wick::control
